"""The recursions of a semi-Markov chain, compiled; `seqlab.crf.segments` has the equations.

Rows come first and time second, so that a thread walks through one row's numbers in order. Sums over labels are
taken of exp(α − max α), one exponential a label instead of one a pair; where that sum is too small to be trusted,
the pairs are summed one by one.
"""

from typing import Any

import numpy as np

from seqlab.exp_kernels import fast_exp
from seqlab.kernels import jit

__all__ = ["best_kernel", "messages_kernel", "moves_kernel", "segments_kernel"]

NEVER = -np.inf
TRUSTED = 1e-200  # what an exponential has lost is below 1e-307, far below this


@jit
def _enter(alpha: Any, transitions: Any, move: Any, top: float, scratch: Any, entry: Any) -> None:
    """entry[j] = log Σ_i exp(alpha[i] + transitions[i, j]), given move = exp(transitions − top)."""
    K = len(alpha)
    largest = NEVER
    for i in range(K):
        largest = max(largest, alpha[i])
    for j in range(K):
        entry[j] = 0.0
    if largest > NEVER:
        for i in range(K):
            scratch[i] = fast_exp(alpha[i] - largest)
        for i in range(K):
            share = scratch[i]
            for j in range(K):
                entry[j] += share * move[i, j]
    for j in range(K):
        if entry[j] > TRUSTED:
            entry[j] = largest + top + np.log(entry[j])
        else:
            entry[j] = _log_sum(alpha, transitions, j)


@jit
def _log_sum(alpha: Any, transitions: Any, j: int) -> Any:
    largest = NEVER
    for i in range(len(alpha)):
        largest = max(largest, alpha[i] + transitions[i, j])
    if largest == NEVER:
        return NEVER
    total = 0.0
    for i in range(len(alpha)):
        total += np.exp(alpha[i] + transitions[i, j] - largest)
    return largest + np.log(total)


@jit
def messages_kernel(
    begin: int, end: int, emissions: Any, transitions: Any, moves: Any, tops: Any, starts: Any, durations: Any,
    lengths: Any, entry: Any, alpha: Any,
) -> None:  # fmt: skip
    """Fill entry ε and alpha α, (R, T, K), of rows begin … end − 1; the first half of the R rows runs forward.

    transitions and moves (2, K, K), tops (2,), starts (2, K): the two directions'. durations (L, K), lengths (R,).
    Each step's largest α is taken off what follows, as in `segments_eager.messages`.
    """
    (L, K), T = durations.shape, emissions.shape[1]
    value, total, largest, scratch = np.empty((L, K)), np.empty(K), np.empty(K), np.empty(K)
    near, last, levels = np.empty((T, K)), np.empty(K), np.zeros(T + 1)  # near: ε_t less levels[t]
    for row in range(begin, end):
        way = 2 * row // len(lengths)
        for t in range(lengths[row]):
            if t == 0:
                near[0] = starts[way]
            else:
                _enter(last, transitions[way], moves[way], tops[way], scratch, near[t])
            longest = min(L, t + 1)
            for j in range(K):
                total[j] = 0.0
                largest[j] = NEVER
            for d in range(longest):
                for j in range(K):
                    total[j] += emissions[row, t - d, j]
                    value[d, j] = near[t - d, j] + total[j] + durations[d, j] + (levels[t - d] - levels[t])
                    largest[j] = max(largest[j], value[d, j])
            for j in range(K):
                total[j] = 0.0
                scratch[j] = largest[j] if largest[j] > NEVER else 0.0
            for d in range(longest):
                for j in range(K):
                    total[j] += fast_exp(value[d, j] - scratch[j])
            top = NEVER
            for j in range(K):
                last[j] = largest[j] + np.log(total[j]) if largest[j] > NEVER else NEVER
                top = max(top, last[j])
            top = np.floor(top) if top > NEVER else 0.0
            levels[t + 1] = levels[t] + top
            for j in range(K):
                entry[row, t, j], alpha[row, t, j] = near[t, j] + levels[t], last[j] + levels[t]
                last[j] -= top


@jit
def segments_kernel(
    begin: int, end: int, emissions: Any, durations: Any, entry: Any, eta: Any, beta: Any, log_z: Any, lengths: Any,
    counts: Any, labels: Any,
) -> None:  # fmt: skip
    """Add up P(segment) over all segments: of each length and label into counts (B, L, K), and of those that cover a
    step, by label, into labels (B, T, K).

    `rest` is the probability of the segments that begin at a step and have not ended yet.
    """
    L, K = durations.shape
    total, rest = np.empty(K), np.empty(K)
    for row in range(begin, end):
        for first in range(lengths[row]):
            for j in range(K):
                total[j] = entry[row, first, j] - log_z[row]
                rest[j] = fast_exp(total[j] + eta[row, first, j])
            for d in range(min(L, lengths[row] - first)):
                t = first + d
                for j in range(K):
                    labels[row, t, j] += rest[j]
                    total[j] += emissions[row, t, j]
                    here = fast_exp(total[j] + durations[d, j] + beta[row, t, j])
                    counts[row, d, j] += here
                    rest[j] = max(rest[j] - here, 0.0)


@jit
def moves_kernel(
    begin: int, end: int, alpha: Any, eta: Any, transitions: Any, log_z: Any, lengths: Any, counts: Any
) -> None:
    """Add up the expected moves i → j between segments into counts (B, K, K)."""
    K = len(transitions)
    for row in range(begin, end):
        for t in range(lengths[row] - 1):
            for i in range(K):
                before = alpha[row, t, i] - log_z[row]
                if before == NEVER:
                    continue
                for j in range(K):
                    counts[row, i, j] += fast_exp(before + transitions[i, j] + eta[row, t + 1, j])


@jit
def best_kernel(
    begin: int, end: int, emissions: Any, transitions: Any, start: Any, stop: Any, durations: Any, lengths: Any,
    tags: Any, begins: Any, scores: Any,
) -> None:  # fmt: skip
    """Fill tags (B, T) and begins (B, T) with the best segmentation and scores (B,) with its score."""
    L, K = durations.shape
    T = emissions.shape[1]
    entry, delta = np.empty((T, K)), np.empty((T, K))
    label_before, length = np.empty((T, K), np.int64), np.empty((T, K), np.int64)
    total = np.empty(K)
    for row in range(begin, end):
        n = lengths[row]
        if n == 0:
            scores[row] = 0.0
            continue
        for t in range(n):
            for j in range(K):
                entry[t, j] = start[j] if t == 0 else NEVER
                label_before[t, j] = 0
                delta[t, j] = NEVER
                length[t, j] = 1
                total[j] = 0.0
            if t > 0:
                for i in range(K):
                    for j in range(K):
                        value = delta[t - 1, i] + transitions[i, j]
                        if value > entry[t, j]:
                            entry[t, j] = value
                            label_before[t, j] = i
            for d in range(min(L, t + 1)):
                for j in range(K):
                    total[j] += emissions[row, t - d, j]
                    value = entry[t - d, j] + total[j] + durations[d, j]
                    if value > delta[t, j]:
                        delta[t, j] = value
                        length[t, j] = d + 1
        label = 0
        for j in range(K):
            if delta[n - 1, j] + stop[j] > delta[n - 1, label] + stop[label]:
                label = j
        scores[row] = delta[n - 1, label] + stop[label]
        t = n - 1
        while t >= 0:
            first = t + 1 - length[t, label]
            for step in range(first, t + 1):
                tags[row, step] = label
                begins[row, step] = step == first
            label = label_before[first, label]
            t = first - 1
