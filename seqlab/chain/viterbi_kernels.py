"""The best path, compiled: see `seqlab.chain.viterbi` for the recursion.

Only the δ are kept, no back-pointers: a path's predecessor is found again where the path is read backwards, one
argmax over K numbers a step. Every few steps the largest δ is taken off the next ones, so that float32 stays exact
over thousands of steps; the path's score is summed again in float64.
"""

from typing import Any

import numpy as np

from seqlab.kernels import inlined, jit
from seqlab.vector_kernels import (
    WIDTH,
    add,
    equal_bits,
    fill,
    first_bit,
    larger,
    largest,
    last_bit,
    load,
    not_below_bits,
    store,
)

__all__ = ["best_paths", "pad_moves"]


@inlined
def _best_columns(delta: Any, at: int, moves: Any, n: int, K: int, P: int) -> Any:
    """Return max_i δ(i) + moves[i, j] for the columns j = n … n + 7, in four maxima that don't wait for each other."""
    a = fill(delta.dtype.type(-np.inf))
    b, c, d, m = a, a, a, n
    for i in range(at, at + K - 3, 4):
        a = larger(add(fill(delta[i]), load(moves, m)), a)
        b = larger(add(fill(delta[i + 1]), load(moves, m + P)), b)
        c = larger(add(fill(delta[i + 2]), load(moves, m + 2 * P)), c)
        d = larger(add(fill(delta[i + 3]), load(moves, m + 3 * P)), d)
        m += 4 * P
    for i in range(at + K - K % 4, at + K):
        a = larger(add(fill(delta[i]), load(moves, m)), a)
        m += P
    return larger(larger(a, b), larger(c, d))


@inlined
def _best_column_pair(delta: Any, at: int, moves: Any, n: int, K: int, P: int) -> Any:
    """Return the columns n … n + 7 and n + 8 … n + 15, with half the reads of `delta`."""
    a = fill(delta.dtype.type(-np.inf))
    b, c, d, m = a, a, a, n
    for i in range(at, at + K - 1, 2):
        first, second = fill(delta[i]), fill(delta[i + 1])
        a, b = larger(add(first, load(moves, m)), a), larger(add(first, load(moves, m + WIDTH)), b)
        m += P
        c, d = larger(add(second, load(moves, m)), c), larger(add(second, load(moves, m + WIDTH)), d)
        m += P
    if K % 2 > 0:
        first = fill(delta[at + K - 1])
        a, b = larger(add(first, load(moves, m)), a), larger(add(first, load(moves, m + WIDTH)), b)
    return larger(a, c), larger(b, d)


@inlined
def _relax(delta: Any, before: int, moves: Any, K: int, P: int, now: int) -> None:
    """delta[now + j] = max_i delta[before + i] + moves[i, j]."""
    for n in range(0, P - WIDTH, 2 * WIDTH):
        left, right = _best_column_pair(delta, before, moves, n, K, P)
        store(delta, now + n, left)
        store(delta, now + n + WIDTH, right)
    if P % (2 * WIDTH) > 0:
        store(delta, now + P - WIDTH, _best_columns(delta, before, moves, P - WIDTH, K, P))


@inlined
def _best(values: Any, at: int, added: Any, line: int, K: int, P: int, last_wins: bool) -> Any:
    """Return the first, or the last, index of the largest values[at + i] + added[line + i]; both end in −inf."""
    top = add(load(values, at), load(added, line))
    for n in range(WIDTH, P, WIDTH):
        top = larger(add(load(values, at + n), load(added, line + n)), top)
    best, n, step = largest(top), 0, WIDTH
    if not best > -np.inf:  # nothing is allowed, or not a number
        return K - 1 if last_wins else 0
    if last_wins:
        n, step = P - WIDTH, -WIDTH
    bits = equal_bits(add(load(values, at + n), load(added, line + n)), best)
    while bits == 0 and 0 <= n + step < P:
        n += step
        bits = equal_bits(add(load(values, at + n), load(added, line + n)), best)
    return n + (last_bit(bits) if last_wins else first_bit(bits))


@jit
def pad_moves(
    transitions: Any, start: Any, end: Any, P: int, moves: Any, into: Any, first: Any, last: Any
) -> bool:  # fmt: skip
    """Fill what `best_paths` takes, (K · P,) and (P,), from (K, K) and (K,); return whether all scores are below +inf.

    The padding is −inf.
    """
    K, below = len(start), True
    moves[:], into[:], first[:], last[:] = -np.inf, -np.inf, -np.inf, -np.inf
    for i in range(K):
        first[i], last[i] = start[i], end[i]
        below = below and start[i] < np.inf and end[i] < np.inf
        for j in range(K):
            moves[i * P + j], into[j * P + i] = transitions[i, j], transitions[i, j]
            below = below and transitions[i, j] < np.inf
    return below


@jit
def best_paths(
    begin: int, stop: int, scores: Any, first: Any, stride: int, wide: int, shown: Any, shown_first: Any,
    lengths: Any, moves: Any, into: Any, start: Any, end: Any, last_wins: bool, out: Any, out_first: Any,
    out_stride: int, best: Any,
) -> None:  # fmt: skip
    """Find the best path of the rows begin … stop − 1.

    Args:
        begin: first row.
        stop: row after the last.
        scores: emissions, flat.
        first: (B,), where each row's first step begins in `scores`; of no meaning with `shown`.
        stride: numbers from one step of a row to the next.
        wide: how many numbers of a step to read in eights: P if steps are padded, else K less K % 8.
        shown: (N,), the line of `scores` that each step shows, or empty: the steps follow each other.
        shown_first: (B,), each row's first entry in `shown`.
        lengths: (B,).
        moves: (K · P,), transitions, each row padded with −inf to P, a multiple of 8.
        into: (K · P,), their transpose, padded too.
        start: (P,), padded with −inf.
        end: (P,), padded with −inf.
        last_wins: among equal predecessors take the last instead of the first.
        out: flat, receives the states; row b's step t at `out[out_first[b] + t · out_stride]`.
        out_first: (B,).
        out_stride: numbers from one step of a row to the next.
        best: (B,), float64, receives the paths' scores, 0 for an empty row, NaN where a score is NaN or +inf.
    """
    P, longest, zero, infinite = start.size, 1, start.dtype.type(0), start.dtype.type(np.inf)
    K, every = moves.size // P, 2 if start.itemsize == 4 else 16
    for b in range(begin, stop):
        longest = max(longest, lengths[b])
    deltas = np.empty(longest * P, moves.dtype)
    for b in range(begin, stop):
        L = lengths[b]
        if L == 0:
            best[b] = 0.0
            continue
        wrong, top = 0, zero
        for t in range(L):
            at = shown[shown_first[b] + t] * stride if shown.size > 0 else first[b] + t * stride
            now = t * P
            if t == 0:
                for n in range(0, P, WIDTH):
                    store(deltas, n, load(start, n))
            else:
                _relax(deltas, now - P, moves, K, P, now)
            for n in range(0, wide, WIDTH):
                emitted = load(scores, at + n)
                wrong |= not_below_bits(emitted, infinite)
                store(deltas, now + n, add(load(deltas, now + n), add(emitted, fill(-top))))
            for n in range(wide, K):
                wrong |= not scores[at + n] < infinite
                deltas[now + n] += scores[at + n] - top
            top = zero
            if t % every == 0:
                tops = load(deltas, now)
                for n in range(WIDTH, P, WIDTH):
                    tops = larger(load(deltas, now + n), tops)
                top = largest(tops)
                top = top if top > -infinite else zero
        tag = _best(deltas, (L - 1) * P, end, 0, K, P, False)
        total = np.float64(end[tag])
        for t in range(L - 1, -1, -1):
            at = shown[shown_first[b] + t] * stride if shown.size > 0 else first[b] + t * stride
            out[out_first[b] + t * out_stride] = tag
            total += scores[at + tag]
            if t > 0:
                before = _best(deltas, (t - 1) * P, into, tag * P, K, P, last_wins)
                total += into[tag * P + before]
                tag = before
            else:
                total += start[tag]
        best[b] = total if wrong == 0 else np.nan
