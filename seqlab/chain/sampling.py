"""Exact samples from the chain's distribution over paths: forward filtering, backward sampling.

With α_t(i) the log-sum of all paths that end in state i at step t (`seqlab.chain.messages`), a path is drawn from
its end to its beginning (Frühwirth-Schnatter 1994):

    P(y_n = j)                              ∝ exp(α_n(j) + end[j])
    P(y_t = i | y_{t+1} = j, y_{t+2}, …)    ∝ exp(α_t(i) + transitions[i, j])

The second line needs no later state than j, because only neighbours interact. So one forward run serves any
number of samples, and each sample costs n·K. A state is drawn by inversion: the first whose cumulated weight
exceeds u · (sum of the weights), with u from `seqlab.chain.random` at this (seed, row, sample, step).

α is kept relative to its maximum at each step, so that its rounding does not grow with the length of a row.

S. Frühwirth-Schnatter: Data augmentation and dynamic linear models. Journal of Time Series Analysis 15, 1994.
"""

import numpy as np
import torch
from torch import Tensor

from seqlab import kernels
from seqlab.chain.doubles import Doubles
from seqlab.chain.inputs import mask_from_lengths
from seqlab.chain.random import seed_number, uniform
from seqlab.errors import ShapeError

__all__ = ["filtered", "log_sum", "sample"]

NEVER = float("-inf")


@torch.no_grad()
def sample(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor | None = None,
    *,
    num_samples: int,
    seed: int | torch.Generator | None,
) -> Tensor:
    """Draw paths from P(y) = exp s(y) / Z.

    The same seed gives the same paths, whatever the number of threads and the padding of the batch. The compiled
    and the eager backend take the same random numbers; their paths differ only where u falls within rounding of
    the border between two states.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.
        num_samples: paths to draw for each row, at least 0.
        seed: an integer; a generator to draw one from; or None for torch's global generator.

    Returns:
        (num_samples, T, B), int64, −1 beyond a row's length.

    Raises:
        ShapeError: a shape, a dtype, a length, `num_samples` or `seed` is wrong, a score is NaN or +inf, or
            every path of a row is forbidden.
    """
    if num_samples < 0:
        raise ShapeError(f"num_samples must not be negative, got {num_samples}")
    key = seed_number(seed)
    chain = Doubles.of(emissions, transitions, start, end, lengths)
    T, B, _ = emissions.shape  # time steps, batch
    if T == 0 or B == 0:
        return chain.lengths.new_empty((num_samples, T, B))
    compiled = kernels.enabled() and emissions.device.type == "cpu"
    tags, possible = (_compiled if compiled else _eager)(chain, num_samples, key)
    if not bool(possible.all()):
        row = int((~possible).nonzero()[0])
        raise ShapeError(f"scores must allow at least one path in every row, row {row} has none to sample")
    return tags


def _compiled(chain: Doubles, num_samples: int, key: int) -> tuple[Tensor, Tensor]:
    from seqlab.chain.sampling_kernels import sample_rows

    T, B, K = chain.emissions.shape  # time steps, batch, states
    tags = chain.lengths.new_full((num_samples, T, B), -1)
    possible = torch.ones(B, dtype=torch.bool)
    inputs = (array.contiguous().numpy() for array in chain)
    work = float(T * B * K) * (K + 20 + num_samples * 3)
    kernels.run(sample_rows, B, work, *inputs, np.uint64(key), tags.numpy(), possible.numpy())
    return tags, possible


def _eager(chain: Doubles, num_samples: int, key: int) -> tuple[Tensor, Tensor]:
    """Return tags (S, T, B) and which rows (B,) have a path; all rows and samples take each step together."""
    T, B, _ = chain.emissions.shape  # time steps, batch
    S, device = num_samples, chain.lengths.device
    inside = mask_from_lengths(chain.lengths, T)  # (T, B)
    alpha = filtered(chain)
    last, rows = (chain.lengths - 1).clamp(min=0), torch.arange(B, device=device)
    final = alpha[last, rows] + chain.end  # (B, K)
    possible = (final.amax(dim=1) > NEVER) | (chain.lengths == 0)

    steps, samples = torch.arange(T, device=device).view(T, 1, 1), torch.arange(S, device=device).view(S, 1)
    numbers = uniform(key, steps, samples, rows)  # (T, S, B)
    tags = chain.lengths.new_full((T, S, B), -1)
    into = chain.transitions.T  # (K to, K from)
    tag = chain.lengths.new_zeros((S, B))
    for t in range(T - 1, -1, -1):
        scores = torch.where((last == t).unsqueeze(1), final, alpha[t] + into[tag])  # (S, B, K)
        tag = _invert(scores, numbers[t])
        tags[t] = torch.where(inside[t], tag, -1)
    return tags.transpose(0, 1), possible


def _invert(scores: Tensor, numbers: Tensor) -> Tensor:
    """Return the first state whose cumulated weight exceeds number · total: (S, B, K), (S, B) → (S, B)."""
    top = scores.amax(dim=2, keepdim=True)
    cumulated = (scores - top.masked_fill(top == NEVER, 0.0)).exp_().cumsum(dim=2)
    total = cumulated[:, :, -1]
    below = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulated > below.unsqueeze(2)).int().argmax(dim=2)


def filtered(chain: Doubles) -> Tensor:
    """Return α_t(i) − max_i α_t(i), (T, B, K), differentiable; −inf where no path leads.

    In a row whose paths have all died out, and in the padding, the numbers mean nothing but are not NaN.
    """
    steps, alpha = [], chain.start + chain.emissions[0]  # (B, K)
    into = chain.transitions.T  # (K to, K from)
    for emitted in chain.emissions[1:].unbind(0):
        alpha = _at_most_zero(alpha)
        steps.append(alpha)
        alpha = log_sum(alpha.unsqueeze(1) + into) + emitted
    steps.append(_at_most_zero(alpha))
    return torch.stack(steps)


def _at_most_zero(scores: Tensor) -> Tensor:
    top = scores.detach().amax(dim=-1, keepdim=True)
    return scores - top.masked_fill(top == NEVER, 0.0)


def log_sum(scores: Tensor) -> Tensor:
    """Return log Σ exp over the last dimension: −inf, with gradient 0, where every score is −inf."""
    forbidden = scores.detach().amax(dim=-1) == NEVER
    if not bool(forbidden.any()):
        return scores.logsumexp(dim=-1)
    safe = scores.masked_fill(forbidden.unsqueeze(-1), 0.0)
    return safe.logsumexp(dim=-1).masked_fill(forbidden, NEVER)
