"""The recursions of a semi-Markov chain with tensor operations; `seqlab.crf.segments` has the equations.

The backward recursion is the forward recursion of the reversed sequence, with the transitions transposed and start
and end swapped. So both directions run through the same code, stacked in a dimension D.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["best_segments", "messages", "move_counts", "segment_counts", "segment_probabilities"]

NEVER = float("-inf")


def messages(emissions: Tensor, transitions: Tensor, start: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
    """Run the forward recursion in log space.

    `window` holds, for each length d, the score of a segment of that length that ends at the current step, with
    everything before it: entering costs the same whatever d, so a step shifts the window by one and adds its
    emissions, and −inf needs no special care as it would in a difference of cumulative sums.

    Each step's largest α, as a whole number, is taken off what follows and given back in the results: so rounding
    doesn't grow with the sums, and what was taken off adds up without any.

    Args:
        emissions: (T, D, B, K), float64, T ≥ 1.
        transitions: (D, K, K), float64.
        start: (D, K), float64.
        durations: (L, K), float64.

    Returns:
        entry ε and alpha α, both (T, D, B, K).
    """
    entry, alpha = torch.empty_like(emissions), torch.empty_like(emissions)
    into = transitions.transpose(1, 2).unsqueeze(1)  # (D, 1, K to, K from)
    by_length = durations[:, None, None, :]  # (L, 1, 1, K)
    window = emissions.new_full((len(durations), *emissions.shape[1:]), NEVER)  # (L, D, B, K)
    last, level = start, emissions.new_zeros((*emissions.shape[1:3], 1))  # level: (D, B, 1), what was taken off
    for t, emitted in enumerate(emissions):
        entered = start.unsqueeze(1) if t == 0 else torch.logsumexp(last.unsqueeze(2) + into, dim=3)  # (D, B, K)
        window = torch.cat([entered.expand_as(emitted).unsqueeze(0), window[:-1]]).add_(emitted)
        reached = torch.logsumexp(window + by_length, dim=0)  # (D, B, K)
        entry[t], alpha[t] = entered + level, reached + level
        largest = reached.amax(dim=2, keepdim=True)
        taken = largest.masked_fill(largest == NEVER, 0.0).floor()
        last, window, level = reached - taken, window - taken, level + taken
    return entry, alpha


def segment_probabilities(
    emissions: Tensor, durations: Tensor, entry: Tensor, beta: Tensor, log_z: Tensor, lengths: Tensor
) -> Iterator[Tensor]:
    """Yield, for d = 1 … L, P(a segment covers exactly steps t … t + d − 1, with label y) as (T − d + 1, B, K).

    Args:
        emissions: (T, B, K), float64, zeros in the padding.
        durations: (L, K), float64.
        entry: (T, B, K), ε.
        beta: (T, B, K), β.
        log_z: (B,), finite.
        lengths: (B,), int64.
    """
    T = emissions.size(0)
    before = entry - log_z.unsqueeze(1)  # (T, B, K)
    for d in range(min(len(durations), T)):
        before = before[: T - d] + emissions[d:]
        inside = torch.arange(d, T, device=lengths.device).unsqueeze(1) < lengths  # (T - d, B)
        yield (before + durations[d] + beta[d:]).exp_().masked_fill(~inside.unsqueeze(2), 0.0)


def segment_counts(probabilities: Iterator[Tensor], begun: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the probabilities of all segments.

    Args:
        probabilities: what `segment_probabilities` yields.
        begun: (T, B, K), P(a segment of label y begins at step t).
        durations: (L, K).

    Returns:
        The expected number of segments of each length and label, (B, L, K), and P(y holds at step t), (T, B, K): the
        segments that have begun, less those that have ended before.
    """
    counts = begun.new_zeros((begun.size(1), *durations.shape))
    rest, labels = begun.clone(), torch.zeros_like(begun)
    for d, found in enumerate(probabilities):
        labels[d:] += rest[: len(found)]
        counts[:, d] = found.sum(dim=0)
        rest = (rest[: len(found)] - found).clamp_(min=0.0)
    return counts, labels


def move_counts(
    alpha: Tensor, eta: Tensor, transitions: Tensor, log_z: Tensor, lengths: Tensor, weights: Tensor
) -> Tensor:
    """Return Σ_b weights[b] · the expected number of segments of label i right before one of label j, (K, K)."""
    counts = torch.zeros_like(transitions)
    for t in range(len(alpha) - 1):
        rows = (lengths > t + 1).nonzero().squeeze(1)
        ahead = eta[t + 1, rows] - log_z[rows].unsqueeze(1)  # (B', K)
        joint = alpha[t, rows].unsqueeze(2) + transitions + ahead.unsqueeze(1)  # (B', K, K)
        counts += torch.einsum("bij,b->ij", joint.exp_(), weights[rows])
    return counts


def best_segments(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, durations: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward recursion with maxima, remember the choices, and trace them back.

    Args:
        emissions: (T, B, K), float64, T ≥ 1.
        transitions: (K, K), float64.
        start: (K,), float64.
        end: (K,), float64.
        durations: (L, K), float64.
        lengths: (B,), int64.

    Returns:
        tags (T, B) int64, begins (T, B) bool, both unspecified in the padding, and the scores (B,).
    """
    T, B, _ = emissions.shape  # time steps, batch
    delta = torch.empty_like(emissions)
    label_before = torch.zeros(emissions.shape, dtype=torch.int64, device=emissions.device)
    length = torch.zeros_like(label_before)
    window = emissions.new_full((len(durations), *emissions.shape[1:]), NEVER)  # (L, B, K)
    entry = start.expand_as(emissions[0])
    for t, emitted in enumerate(emissions):
        if t > 0:
            entry, label_before[t] = (delta[t - 1].unsqueeze(2) + transitions).max(dim=1)
        window = torch.cat([entry.unsqueeze(0), window[:-1]]).add_(emitted)
        delta[t], shorter = (window + durations.unsqueeze(1)).max(dim=0)
        length[t] = shorter + 1
    rows = torch.arange(B, device=lengths.device)
    score, tag = (delta[(lengths - 1).clamp(min=0), rows] + end).max(dim=1)  # (B,), (B,)

    tags, begins = lengths.new_empty((T, B)), torch.empty((T, B), dtype=torch.bool, device=lengths.device)
    left = torch.zeros_like(lengths)  # steps of the current segment still to write
    for t in range(T - 1, -1, -1):
        if t + 1 < T:
            crossed = (left == 0) & (t + 1 < lengths)
            tag = torch.where(crossed, label_before[t + 1, rows, tag], tag)
        left = torch.where((left == 0) | (t + 1 >= lengths), length[t, rows, tag], left)
        tags[t], begins[t] = tag, left == 1
        left = left - 1
    return tags, begins, score
