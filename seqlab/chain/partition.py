"""Sums over all paths: the log-partition with its gradient, marginals, expected counts, the log-likelihood.

Two engines compute them: compiled kernels on the CPU (`seqlab.chain.compiled`), and eager torch
(`seqlab.chain.eager`) everywhere else. The Triton kernels for GPUs (`seqlab.chain.triton_kernels`) are checked in
Triton's interpreter only and must be called by name until they have been measured on a GPU.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from seqlab import kernels
from seqlab.chain import operators
from seqlab.chain.doubles import Doubles
from seqlab.chain.eager import EagerPosterior, eager_log_partition
from seqlab.chain.inputs import check_chain, check_tag_shape, check_tags, result_dtype
from seqlab.chain.score import path_score_in_double
from seqlab.derivatives import first_derivative_only

__all__ = ["ExpectedCounts", "expected_counts", "log_likelihood", "log_partition", "log_share", "marginals"]


class ExpectedCounts(NamedTuple):
    """What the posterior distribution over paths expects, in float64.

    Attributes:
        log_partition: (B,), log Σ_y exp s(y).
        states: (T, B, K), γ_t(j) = P(y_t = j), 0 in the padding (Rabiner 1989, equation 27).
        transitions: (K, K), Σ_b Σ_t ξ_t(i, j) = the expected number of moves i → j (equation 37).
    """

    log_partition: Tensor
    states: Tensor
    transitions: Tensor


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return log Σ_y exp s(y) over all paths: the logarithm of the CRF's normaliser Z(x), the HMM's likelihood.

    The gradient is analytic: ∂ log Z / ∂ emissions[t, j] = P(y_t = j) and ∂ log Z / ∂ transitions[i, j] = the
    expected number of moves i → j (Lafferty 2001, section 4). A second derivative
    (`create_graph=True`) raises a RuntimeError.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        (B,).

    Raises:
        ShapeError: a shape, a dtype or a length is wrong, or a score is NaN or +inf.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    result = log_partition_in_double(emissions, transitions, start, end, lengths)
    return result.to(result_dtype(emissions, transitions, start, end))


def log_partition_in_double(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Return the same as float64, for differences; the chain is checked."""
    if torch.compiler.is_compiling():
        traced: Tensor = operators.log_partition(emissions, transitions, start, end, lengths)
        return traced
    if emissions.numel() == 0:
        return emissions.double().sum(dim=(0, 2))
    result: Tensor = _LogPartition.apply(emissions, transitions, start, end, lengths)  # type: ignore[no-untyped-call]
    return result


def log_likelihood(
    emissions: Tensor,
    tags: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor | None = None,
) -> Tensor:
    """Return log p(tags) = s(tags) − log Z of each row; the same as `path_score` less `log_partition`, but faster.

    The difference is taken in float64, so little is lost where both are large.

    Args:
        emissions: (T, B, K), floating.
        tags: (T, B), integers; the padding may hold anything.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        (B,), −inf where the tags hold a forbidden score.

    Raises:
        ShapeError: a shape, a dtype, a length or a tag is wrong, or a score is NaN or +inf.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    dtype = result_dtype(emissions, transitions, start, end)
    scores = (transitions, start, end)
    traced = torch.compiler.is_compiling()
    if traced or emissions.numel() == 0 or emissions.device.type != "cpu" or not kernels.enabled():
        score = path_score_in_double(emissions, tags, *scores, lengths)
        log_z = log_partition_in_double(emissions, *scores, lengths)
        return torch.where(score == float("-inf"), score, score - log_z).to(dtype)
    check_tag_shape(tags, lengths, emissions.size(0))
    result: Tensor = _LogLikelihood.apply(emissions, tags.long(), *scores, lengths)  # type: ignore[no-untyped-call]
    return result.to(dtype)


@torch.no_grad()
def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return P(y_t = j) for every step and state, (T, B, K), 0 in the padding, without gradient.

    Arguments and errors as in `log_partition`.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    dtype = result_dtype(emissions, transitions, start, end)
    if emissions.numel() == 0:
        return torch.zeros_like(emissions, dtype=dtype)
    return posterior(emissions, transitions, start, end, lengths).states.to(dtype)


@torch.no_grad()
def expected_counts(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> ExpectedCounts:
    """Return the log-partition, the state marginals and the expected moves: the E-step of Baum–Welch.

    Arguments and errors as in `log_partition`.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    if emissions.numel() == 0:
        nothing = torch.zeros(emissions.size(1), dtype=torch.float64, device=emissions.device)
        return ExpectedCounts(nothing, emissions.double(), torch.zeros_like(transitions, dtype=torch.float64))
    found = posterior(emissions, transitions, start, end, lengths)
    return ExpectedCounts(found.log_partition, found.states.double(), found.moves(torch.ones_like(found.log_partition)))


def log_share(
    emissions: Tensor, part: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return log Z of some of the paths less log Z of all, (B,): the logarithm of their probability.

    Args:
        emissions: (T, B, K), floating.
        part: (T, B, K), the same with −inf for the states that some of the paths do without.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Raises:
        ShapeError: as in `log_partition`.
    """
    scores, lengths = (transitions, start, end), check_chain(emissions, transitions, start, end, lengths)
    some, all_paths = (log_partition_in_double(given, *scores, lengths) for given in (part, emissions))
    share = torch.where(some == float("-inf"), some, some - all_paths)
    return share.to(result_dtype(emissions, transitions, start, end))


class Posterior(Protocol):
    """What every engine finds."""

    log_partition: Tensor  # (B,), float64
    states: Tensor  # (T, B, K): γ_t(j)

    def weighted_states(self, weights: Tensor) -> Tensor:
        """Return weights[b] · γ_t(j), (T, B, K)."""
        ...

    def moves(self, weights: Tensor) -> Tensor:
        """Return Σ_b weights[b] Σ_t ξ_t(i, j), (K, K)."""
        ...


def posterior(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Posterior:
    """Run the engine that suits the device; no argument may be empty."""
    if emissions.device.type == "cpu" and kernels.enabled():
        from seqlab.chain.compiled import CompiledPosterior

        dtype = result_dtype(emissions, transitions, start, end)
        return CompiledPosterior(emissions, transitions, start, end, lengths, dtype)
    emissions, transitions, start, end = (part.detach() for part in (emissions, transitions, start, end))
    return EagerPosterior(Doubles.of(emissions, transitions, start, end, lengths))


def partition_gradients(found: Posterior, lengths: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of Σ_b grad[b] · log Z_b by emissions, transitions, start and end."""
    by_state = found.weighted_states(grad)  # (T, B, K)
    last = (lengths - 1).clamp(min=0)
    rows = torch.arange(last.numel(), device=last.device)
    return by_state, found.moves(grad), by_state[0].sum(dim=0), by_state[last, rows].sum(dim=0)


class _LogPartition(torch.autograd.Function):
    """log Z with its gradient: forward and backward run together, the gradient is read off the posterior."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
    ) -> Tensor:
        if not any(ctx.needs_input_grad) and not (emissions.device.type == "cpu" and kernels.enabled()):
            return eager_log_partition(Doubles.of(emissions, transitions, start, end, lengths))
        ctx.dtypes = [part.dtype for part in (emissions, transitions, start, end)]
        ctx.found, ctx.lengths = posterior(emissions, transitions, start, end, lengths), lengths
        log_z: Tensor = ctx.found.log_partition.clone()
        return log_z

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = partition_gradients(ctx.found, ctx.lengths, grad)
        return *(g.to(d) for g, d in zip(grads, ctx.dtypes, strict=True)), None


class _LogLikelihood(torch.autograd.Function):
    """s(tags) − log Z on the CPU, both by compiled kernels, and one pass for the gradient of both."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, tags: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
    ) -> Tensor:
        from seqlab.chain.compiled import CompiledPosterior, Layout, laid_out
        from seqlab.chain.likelihood_kernels import path_scores

        dtype = result_dtype(emissions, transitions, start, end)
        values = laid_out(emissions, dtype)
        found = CompiledPosterior(values, transitions, start, end, lengths, dtype)
        (T, B, K), sizes, paths = values.shape, lengths.numpy(), Layout.of(tags.unsqueeze(2))
        score = np.empty(B)
        states = Layout.of(found.states if any(ctx.needs_input_grad) else found.states[:0]).flat
        work = 200.0 * tags.numel()  # its memory lies far apart
        kernels.run(path_scores, B, work, *found.layout, sizes, *paths, *found.scores, states, score)
        if np.isnan(score).any():
            check_tags(tags, lengths, T, K)
        ctx.dtypes = [part.dtype for part in (emissions, transitions, start, end)]
        ctx.found, ctx.paths, ctx.lengths = found, paths, lengths
        log_z = found.log_partition.numpy()
        return torch.from_numpy(np.subtract(score, log_z, out=score, where=score > -np.inf))

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from seqlab.chain.compiled import Layout
        from seqlab.chain.likelihood_kernels import path_counts

        found, lengths = ctx.found, ctx.lengths
        by_state, moves = found.weighted_states(-grad), found.moves(-grad)  # its states are γ − 1{y_t = j} by now
        by_start, by_end = torch.zeros((2, by_state.size(2)), dtype=torch.float64)
        weights, sums = grad.double().contiguous().numpy(), (part.numpy() for part in (moves, by_start, by_end))
        rows = (*Layout.of(by_state), lengths.numpy(), *ctx.paths, weights, *sums)
        path_counts(0, lengths.numel(), *rows)
        grads = (by_state, moves, by_start, by_end)
        d_emissions, *d_moves = (g.to(d) for g, d in zip(grads, ctx.dtypes, strict=True))
        return d_emissions, None, *d_moves, None
