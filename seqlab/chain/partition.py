"""Sums over all paths: the log-partition with its gradient, marginals and expected counts."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqlab.chain.inputs import check_chain, mask_from_lengths, result_dtype, reverse_rows
from seqlab.chain.messages import SMALLEST_SCALE, Messages, log_messages, scaled_messages, scaled_suits
from seqlab.derivatives import first_derivative_only
from seqlab.errors import ShapeError

__all__ = ["ExpectedCounts", "expected_counts", "log_partition", "marginals"]


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
    if emissions.numel() == 0:
        return emissions.sum(dim=(0, 2)).to(result_dtype(emissions, transitions, start, end))
    result: Tensor = _LogPartition.apply(emissions, transitions, start, end, lengths)  # type: ignore[no-untyped-call]
    return result.to(result_dtype(emissions, transitions, start, end))


@torch.no_grad()
def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return P(y_t = j) for every step and state, (T, B, K), 0 in the padding, without gradient.

    Arguments and errors as in `log_partition`.
    """
    counts = expected_counts(emissions, transitions, start, end, lengths)
    return counts.states.to(result_dtype(emissions, transitions, start, end))


@torch.no_grad()
def expected_counts(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> ExpectedCounts:
    """Return the log-partition, the state marginals and the expected moves: the E-step of Baum–Welch.

    Arguments and errors as in `log_partition`.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    chain = _Chain.of(emissions, transitions, start, end, lengths)
    if emissions.numel() == 0:
        nothing = chain.emissions.new_zeros(emissions.size(1))
        return ExpectedCounts(nothing, chain.emissions, torch.zeros_like(chain.transitions))
    found = _forward_backward(chain)
    weights = torch.ones_like(found.log_partition)
    return ExpectedCounts(found.log_partition, found.states, _expected_moves(chain, found, weights))


class _Chain(NamedTuple):
    """A chain in float64 with its padding replaced by zeros."""

    emissions: Tensor  # (T, B, K)
    transitions: Tensor  # (K, K)
    start: Tensor  # (K,)
    end: Tensor  # (K,)
    lengths: Tensor  # (B,)

    @classmethod
    def of(cls, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> "_Chain":
        padding = ~mask_from_lengths(lengths, emissions.size(0)).unsqueeze(2)  # (T, B, 1)
        inner = emissions.detach().double().masked_fill(padding, 0.0)
        pairs, first, last = (part.detach().double() for part in (transitions, start, end))
        named = {"emissions": inner, "transitions": pairs, "start": first, "end": last}
        for name, part in named.items():
            # One pass: NaN and +inf both survive the maximum.
            if part.numel() and not bool(part.max() < float("inf")):
                raise ShapeError(f"{name} must hold no NaN and no +inf, got {float(part.max())}")
        return cls(inner, pairs, first, last, lengths)


class _Posterior(NamedTuple):
    """Both directions and what follows from them; linear or logarithmic, as `scaled` says."""

    scaled: bool
    log_partition: Tensor  # (B,)
    prefix: Tensor  # (T, B, K): paths up to step t and its emission
    suffix: Tensor  # (T, B, K): paths from step t on, its emission included
    states: Tensor  # (T, B, K): γ_t(j)
    overlap: Tensor  # (T, B): Σ_j of what γ is normalised by; in log space log Z at each step


def _run(chain: _Chain, directions: int) -> tuple[Messages, bool, Tensor]:
    """Run one or both directions; return the messages, whether they are linear, and the (B,) log-partition."""
    emissions = chain.emissions.unsqueeze(1)
    transitions, start = chain.transitions.unsqueeze(0), chain.start.unsqueeze(0)
    if directions == 2:
        emissions = torch.stack([chain.emissions, reverse_rows(chain.emissions, chain.lengths)], dim=1)
        transitions = torch.stack([chain.transitions, chain.transitions.T])
        start = torch.stack([chain.start, chain.end])
    last = (chain.lengths - 1).clamp(min=0)  # (B,)
    rows = torch.arange(last.numel(), device=last.device)

    if scaled_suits(chain.emissions, chain.transitions, chain.start, chain.end):
        messages = scaled_messages(emissions, transitions, start)
        if messages is not None:
            top = chain.end.max()
            total = messages.prefix[last, 0, rows] @ (chain.end - top).exp()  # (B,)
            if bool((total > SMALLEST_SCALE).all()):
                log_z = messages.log_scale[last, 0, rows] + total.log() + top
                return messages, True, log_z.masked_fill(chain.lengths == 0, 0.0)
    messages = log_messages(emissions, transitions, start)
    log_z = torch.logsumexp(messages.prefix[last, 0, rows] + chain.end, dim=1)
    return messages, False, log_z.masked_fill(chain.lengths == 0, 0.0)


def _forward_backward(chain: _Chain) -> _Posterior:
    """Combine both directions: γ_t(j) is proportional to exp(prefix_t(j) + suffix without t's emission)."""
    messages, scaled, log_z = _run(chain, directions=2)
    mask = mask_from_lengths(chain.lengths, chain.emissions.size(0))  # (T, B)
    prefix = messages.prefix[:, 0]
    future = reverse_rows(messages.incoming[:, 1], chain.lengths)
    suffix = reverse_rows(messages.prefix[:, 1], chain.lengths)
    if scaled:
        states = prefix * future
        overlap = states.sum(dim=2)
        states = states / overlap.unsqueeze(2)
    else:
        # With log Z = −inf every path is forbidden: keep exp(−inf − log Z) at 0 instead of NaN.
        overlap = log_z.masked_fill(log_z == float("-inf"), 0.0).expand(mask.shape)
        states = (prefix + future - overlap.unsqueeze(2)).exp_()
    return _Posterior(scaled, log_z, prefix, suffix, states.masked_fill(~mask.unsqueeze(2), 0.0), overlap)


def _expected_moves(chain: _Chain, found: _Posterior, weights: Tensor) -> Tensor:
    """Return Σ_b weights[b] Σ_t ξ_t(i, j) as (K, K), where ξ_t joins prefix_t(i), the move and suffix_{t+1}(j)."""
    T, _, K = chain.emissions.shape
    inside = mask_from_lengths(chain.lengths - 1, T)[:-1]  # (T-1, B): steps with a successor
    if found.scaled:
        # The same scaling as in `scaled_messages`, so that the overlap is Σ_ij of the products below.
        move = (chain.transitions - chain.transitions.max()).exp_()
        share = (weights / found.overlap[:-1]).masked_fill(~inside, 0.0)  # (T-1, B)
        after = (found.suffix[1:] * share.unsqueeze(2)).masked_fill(~inside.unsqueeze(2), 0.0)
        return move * (found.prefix[:-1].reshape(-1, K).T @ after.reshape(-1, K))
    moves = torch.zeros_like(chain.transitions)
    for t in range(T - 1):
        rows = inside[t].nonzero().squeeze(1)
        ahead = found.suffix[t + 1, rows] - found.overlap[t, rows].unsqueeze(1)  # (B', K)
        joint = found.prefix[t, rows].unsqueeze(2) + chain.transitions + ahead.unsqueeze(1)  # (B', K, K)
        moves += torch.einsum("bij,b->ij", joint.exp_(), weights[rows])
    return moves


class _LogPartition(torch.autograd.Function):
    """log Z with its gradient: forward and backward run together, the gradient is read off the posterior."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
    ) -> Tensor:
        chain = _Chain.of(emissions, transitions, start, end, lengths)
        ctx.dtypes = [part.dtype for part in (emissions, transitions, start, end)]
        if not any(ctx.needs_input_grad):
            return _run(chain, directions=1)[2]
        found = _forward_backward(chain)
        ctx.scaled = found.scaled
        ctx.save_for_backward(*chain, *found[1:])
        return found.log_partition

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        chain, found = _Chain(*saved[:5]), _Posterior(ctx.scaled, *saved[5:])
        grad = grad.double()
        by_state = found.states * grad.unsqueeze(1)  # (T, B, K)
        last = (chain.lengths - 1).clamp(min=0)
        rows = torch.arange(last.numel(), device=last.device)
        grads = (
            by_state,
            _expected_moves(chain, found, grad) if ctx.needs_input_grad[1] else None,
            by_state[0].sum(dim=0),
            by_state[last, rows].sum(dim=0),
        )
        return *(g if g is None else g.to(d) for g, d in zip(grads, ctx.dtypes, strict=True)), None
