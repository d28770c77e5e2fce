"""The best path, compiled: see `seqlab.chain.viterbi` for the recursion.

Only the δ are kept, no back-pointers: a path's predecessor is found again where the path is read backwards, one
argmax over K numbers a step. Every few steps the largest δ is taken off all of them, so that float32 stays exact
over thousands of steps; the path's score is summed again in float64.
"""

from typing import Any

import numpy as np

from seqlab.kernels import jit

__all__ = ["best_paths"]

STEPS_BETWEEN = 16


@jit
def _relax(delta: Any, moves: Any, out: Any) -> None:
    """out(j) = max_i δ(i) + moves[i, j]; (K,), (K, P) → (P,)."""
    K, P = moves.shape
    a = delta[0]
    for j in range(P):
        out[j] = a + moves[0, j]
    i = 1
    while i + 3 < K:
        a, b, c, d = delta[i], delta[i + 1], delta[i + 2], delta[i + 3]
        for j in range(P):
            x, y, z, w = a + moves[i, j], b + moves[i + 1, j], c + moves[i + 2, j], d + moves[i + 3, j]
            early = x if x > y else y
            late = z if z > w else w
            best = early if early > late else late
            out[j] = best if best > out[j] else out[j]
        i += 4
    while i < K:
        a = delta[i]
        for j in range(P):
            x = a + moves[i, j]
            out[j] = x if x > out[j] else out[j]
        i += 1


@jit
def _first_best(values: Any, added: Any) -> int:
    """Return the first index of the largest values[i] + added[i]."""
    best, found = values[0] + added[0], 0
    for i in range(1, added.size):
        value = values[i] + added[i]
        if value > best:
            best, found = value, i
    return found


@jit
def _last_best(values: Any, added: Any) -> int:
    """Return the last index of the largest values[i] + added[i]."""
    best, found = values[0] + added[0], 0
    for i in range(1, added.size):
        value = values[i] + added[i]
        if value >= best:
            best, found = value, i
    return found


@jit
def best_paths(
    begin: int, stop: int, scores: Any, first: Any, stride: int, shown: Any, shown_first: Any, lengths: Any, moves: Any,
    into: Any, start: Any, end: Any, last_wins: bool, out: Any, out_first: Any, out_stride: int, best: Any,
) -> None:  # fmt: skip
    """Find the best path of the rows begin … stop − 1.

    Args:
        begin: first row.
        stop: row after the last.
        scores: emissions, flat.
        first: (B,), where each row's first step begins in `scores`; of no meaning with `shown`.
        stride: numbers from one step of a row to the next.
        shown: (N,), the line of `scores` that each step shows, or empty: the steps follow each other.
        shown_first: (B,), each row's first entry in `shown`.
        lengths: (B,).
        moves: (K, P), transitions, padded with −inf.
        into: (K, K), their transpose.
        start: (K,).
        end: (K,).
        last_wins: among equal predecessors take the last instead of the first.
        out: flat, receives the states; row b's step t at `out[out_first[b] + t · out_stride]`.
        out_first: (B,).
        out_stride: numbers from one step of a row to the next.
        best: (B,), float64, receives the paths' scores, 0 for an empty row.
    """
    K, P = moves.shape
    longest = 1
    for b in range(begin, stop):
        longest = max(longest, lengths[b])
    deltas = np.empty((longest, P), moves.dtype)
    for b in range(begin, stop):
        L = lengths[b]
        if L == 0:
            best[b] = 0.0
            continue
        for t in range(L):
            at = shown[shown_first[b] + t] * stride if shown.size > 0 else first[b] + t * stride
            emitted, delta = scores[at : at + K], deltas[t]
            if t == 0:
                for j in range(K):
                    delta[j] = start[j]
            else:
                _relax(deltas[t - 1], moves, delta)
            for j in range(K):
                delta[j] += emitted[j]
            if t % STEPS_BETWEEN == 0:
                top = delta[0]
                for j in range(K):
                    top = delta[j] if delta[j] > top else top
                if top > -np.inf:
                    for j in range(K):
                        delta[j] -= top
        tag = _first_best(deltas[L - 1], end)
        total = float(end[tag])
        for t in range(L - 1, -1, -1):
            at = shown[shown_first[b] + t] * stride if shown.size > 0 else first[b] + t * stride
            out[out_first[b] + t * out_stride] = tag
            total += scores[at + tag]
            if t > 0:
                before = _last_best(deltas[t - 1], into[tag]) if last_wins else _first_best(deltas[t - 1], into[tag])
                total += into[tag, before]
                tag = before
            else:
                total += start[tag]
        best[b] = total
