"""Forward filtering and backward sampling, compiled: the recursions of `seqlab.chain.sampling`, one row at a time.

The sums are taken over probabilities, which are products of a row α̂ ≤ 1 and a column E ≤ 1, in float64. What is
lost below 2.2e-308 cannot show in a sum that exceeds `SAFE`; a smaller sum is taken again in log space. So
nothing is ever lost, and log space costs only where it is needed.
"""

from typing import Any

import numpy as np

from seqlab.chain.random import M0, M1, W0, W1
from seqlab.kernels import jit

__all__ = ["sample_rows"]

SAFE = 1e-280
MULTIPLY_0, MULTIPLY_1, WEYL_0, WEYL_1 = np.uint64(M0), np.uint64(M1), np.uint64(W0), np.uint64(W1)
WORD, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
HIGH_CUT, LOW_CUT = np.uint64(5), np.uint64(6)


@jit
def _uniform(key: Any, step: int, number: int, row: int) -> float:
    """The twin of `seqlab.chain.random.uniform`."""
    c0, c1, c2, c3 = np.uint64(step), np.uint64(number), np.uint64(row), np.uint64(0)
    k0, k1 = key & WORD, key >> HALF
    for _ in range(10):
        first, second = c0 * MULTIPLY_0, c2 * MULTIPLY_1
        c0, c1 = (second >> HALF) ^ c1 ^ k0, second & WORD
        c2, c3 = (first >> HALF) ^ c3 ^ k1, first & WORD
        k0, k1 = (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD
    return (float(c0 >> HIGH_CUT) * 67108864.0 + float(c1 >> LOW_CUT)) * 2.0**-53


@jit
def _log_sum(left: Any, right: Any) -> float:
    """Return log Σ exp(left + right)."""
    top = -np.inf
    for i in range(left.size):
        top = max(top, left[i] + right[i])
    if top == -np.inf:
        return top
    total = 0.0
    for i in range(left.size):
        total += np.exp(left[i] + right[i] - top)
    return float(top + np.log(total))


@jit
def _relative(logs: Any, linear: Any) -> bool:
    """Subtract the maximum from the logarithms, exponentiate; tell whether any path is left."""
    top = -np.inf
    for j in range(logs.size):
        top = max(top, logs[j])
    if top == -np.inf:
        return False
    for j in range(logs.size):
        logs[j] -= top
        linear[j] = np.exp(logs[j])
    return True


@jit
def _filter(
    emissions: Any, b: int, n: int, into: Any, moves: Any, top: float, start: Any, logs: Any, linear: Any
) -> bool:
    """Fill α (n, K) relative to its maximum, as logarithms and linear; tell whether any path is left.

    `moves` is exp(transitions − top) with row i the state before; `into` is the transitions with row j the
    state after.
    """
    K = start.size
    sums = np.empty(K)
    for j in range(K):
        logs[0, j] = start[j] + emissions[0, b, j]
    alive = _relative(logs[0], linear[0])
    for t in range(1, n):
        if not alive:
            return False
        sums[:] = 0.0
        for i in range(K):
            weight = linear[t - 1, i]
            for j in range(K):
                sums[j] += weight * moves[i, j]
        for j in range(K):
            if emissions[t, b, j] == -np.inf:
                logs[t, j] = -np.inf
            elif sums[j] > SAFE:
                logs[t, j] = np.log(sums[j]) + top + emissions[t, b, j]
            else:
                logs[t, j] = _log_sum(logs[t - 1], into[j]) + emissions[t, b, j]
        alive = _relative(logs[t], linear[t])
    return bool(alive)


@jit
def _invert(linear: Any, logs: Any, column: Any, log_column: Any, u: float, weights: Any) -> int:
    """Return the first state whose cumulated weight exceeds u · total; one of them must be above −inf."""
    K = weights.size
    total = 0.0
    for i in range(K):
        weights[i] = linear[i] * column[i]
        total += weights[i]
    if not total > SAFE:
        most = -np.inf
        for i in range(K):
            most = max(most, logs[i] + log_column[i])
        total = 0.0
        for i in range(K):
            weights[i] = np.exp(logs[i] + log_column[i] - most)
            total += weights[i]
    border, cumulated, chosen = u * total, 0.0, 0
    for i in range(K):
        cumulated += weights[i]
        if weights[i] > 0.0:
            chosen = i
            if cumulated > border:
                break
    return chosen


@jit
def sample_rows(
    begin: int, end: int, emissions: Any, transitions: Any, start: Any, last: Any, lengths: Any, key: Any,
    tags: Any, possible: Any,
) -> None:  # fmt: skip
    """Sample paths of rows begin … end − 1.

    Args:
        emissions: (T, B, K), float64.
        transitions: (K, K).
        start: (K,).
        last: (K,), end scores.
        lengths: (B,), int64.
        key: uint64.
        tags: (S, T, B), −1 everywhere; filled.
        possible: (B,), True everywhere; False where a row has no path.
    """
    T, _, K = emissions.shape
    top, last_top = np.max(transitions), np.max(last)
    top = 0.0 if top == -np.inf else top
    last_top = 0.0 if last_top == -np.inf else last_top
    into, moves, ends = transitions.T.copy(), np.exp(transitions - top), np.exp(last - last_top)
    columns = moves.T.copy()
    logs, linear, weights = np.empty((T, K)), np.empty((T, K)), np.empty(K)
    for b in range(begin, end):
        n = lengths[b]
        if n == 0:
            continue
        alive = _filter(emissions, b, n, into, moves, top, start, logs, linear)
        if not alive or _log_sum(logs[n - 1], last) == -np.inf:
            possible[b] = False
            continue
        for s in range(tags.shape[0]):
            tag = _invert(linear[n - 1], logs[n - 1], ends, last, _uniform(key, n - 1, s, b), weights)
            tags[s, n - 1, b] = tag
            for t in range(n - 2, -1, -1):
                tag = _invert(linear[t], logs[t], columns[tag], into[tag], _uniform(key, t, s, b), weights)
                tags[s, t, b] = tag
