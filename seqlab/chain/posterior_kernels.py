"""Forward–backward in scaled probabilities for rows of any length, compiled: one row at a time, cache-hot.

The recursions of `seqlab.chain.messages`, each direction with a scale of its own, so that the two can run at once:

    α̂_t = (α̂_{t−1} E) ∘ w_t · 1/c_t      E = exp(transitions − top),  w_t = exp(emissions_t − largest emission_t)
    β̂_{t−1} = E (w_t ∘ β̂_t) · r_{t−1}
    γ_t = α̂_t ∘ β̂_t / o_t                 o_t = Σ_j α̂_t(j) β̂_t(j)
    ξ_t(i, j) = α̂_{t−1}(i) · r_{t−1} / o_{t−1} · E(i, j) · w_t(j) β̂_t(j)

Rabiner (1989, section V.A) scales at every step; here c_t and r_t are 1 while the sum stays between `low` and
1 / `low`, which keeps the sum and its reciprocal out of the chain of dependent operations. Since o_t divides each
step's result anew, rounding doesn't pile up over thousands of steps.

What is lost. A number below the smallest one, `tiny`, becomes 0, and all paths through it are gone. As no α̂ or β̂
exceeds 1 / `low`, they weigh at most tiny / (low · o_t) of the whole: nothing that the result could show as long as
o_t stays above `limit`. Otherwise, or where a sum is 0 or not a number, the row is marked `unsafe` and the caller
computes it again with `seqlab.chain.eager`.

Widths: K states are padded with zeros to P, a multiple of the vector width, so that inner loops have no remainder.
Arrays of P numbers a line are passed flat, with the place where a line begins.
"""

from typing import Any

import numpy as np

from seqlab.exp_kernels import fast_exp
from seqlab.kernels import inlined, jit
from seqlab.vector_kernels import WIDTH, add, fill, load, multiply, multiply_add, store, total

__all__ = ["row_posteriors", "symbol_posteriors"]

# Fields of `settings`: see `seqlab.chain.compiled`.
LOW, LIMIT, HIGHEST = 0, 1, 2


@jit
def _weigh(scores: Any, at: int, stride: int, K: int, P: int, weights: Any) -> float:
    """Fill weights (steps · P,) with exp(score − largest of its step) and return the sum of the largest.

    Step t's scores lie at `scores[at + t · stride]`.
    """
    total_largest, steps = 0.0, weights.size // P
    for t in range(steps):
        row, emit = scores[at + t * stride : at + t * stride + K], weights[t * P : (t + 1) * P]
        largest = row[0]
        for j in range(K):
            largest = max(largest, row[j])
        total_largest += largest
        for j in range(K):
            emit[j] = row[j] - largest
        for j in range(K, P):
            emit[j] = -np.inf
    for n in range(weights.size):
        weights[n] = fast_exp(weights[n])
    return total_largest


@inlined
def _columns(source: Any, at: int, matrix: Any, n: int, K: int, P: int) -> Any:
    """Return the columns n … n + 7 of source[at : at + K] · matrix, in four sums that don't wait for each other."""
    a = fill(source.dtype.type(0))
    b, c, d, m = a, a, a, n
    for i in range(at, at + K - 3, 4):
        a = multiply_add(a, source[i], load(matrix, m))
        b = multiply_add(b, source[i + 1], load(matrix, m + P))
        c = multiply_add(c, source[i + 2], load(matrix, m + 2 * P))
        d = multiply_add(d, source[i + 3], load(matrix, m + 3 * P))
        m += 4 * P
    for i in range(at + K - K % 4, at + K):
        a = multiply_add(a, source[i], load(matrix, m))
        m += P
    return add(add(a, b), add(c, d))


@inlined
def _column_pair(source: Any, at: int, matrix: Any, n: int, K: int, P: int) -> Any:
    """Return the columns n … n + 7 and n + 8 … n + 15, with half the reads of `source`."""
    a = fill(source.dtype.type(0))
    b, c, d, e, f, g, h, m = a, a, a, a, a, a, a, n
    for i in range(at, at + K - 3, 4):
        number = source[i]
        a, e = multiply_add(a, number, load(matrix, m)), multiply_add(e, number, load(matrix, m + WIDTH))
        number, m = source[i + 1], m + P
        b, f = multiply_add(b, number, load(matrix, m)), multiply_add(f, number, load(matrix, m + WIDTH))
        number, m = source[i + 2], m + P
        c, g = multiply_add(c, number, load(matrix, m)), multiply_add(g, number, load(matrix, m + WIDTH))
        number, m = source[i + 3], m + P
        d, h = multiply_add(d, number, load(matrix, m)), multiply_add(h, number, load(matrix, m + WIDTH))
        m += P
    for i in range(at + K - K % 4, at + K):
        number = source[i]
        a, e = multiply_add(a, number, load(matrix, m)), multiply_add(e, number, load(matrix, m + WIDTH))
        m += P
    return add(add(a, b), add(c, d)), add(add(e, f), add(g, h))


@inlined
def _scale(values: Any, at: int, P: int, factor: Any) -> None:
    spread = fill(factor)
    for n in range(at, at + P, WIDTH):
        store(values, n, multiply(load(values, n), spread))


@jit
def _backward(
    shown: Any, begin: int, L: int, weights: Any, back: Any, end: Any, K: int, low: Any, beta: Any, ahead: Any,
    line: int, rescaled: Any,
) -> None:  # fmt: skip
    """Fill beta (L · P,) with β̂, ahead from its line `line` on with w ∘ β̂, and rescaled (L,) with r_t.

    Step t has the weights of line `shown[begin + t]`.
    """
    P, one = end.size, end.dtype.type(1)
    high, at, later = one / low, (L - 1) * P, (line + L - 1) * P
    emit = shown[begin + L - 1] * P
    for n in range(0, P, WIDTH):
        store(beta, at + n, load(end, n))
        store(ahead, later + n, multiply(load(end, n), load(weights, emit + n)))
    rescaled[L - 1] = one
    for t in range(L - 2, -1, -1):
        at, now, later, emit = at - P, later - P, later, shown[begin + t] * P
        sums, n = fill(end.dtype.type(0)), 0
        while n + WIDTH < P:
            left, right = _column_pair(ahead, later, back, n, K, P)
            store(beta, at + n, left)
            store(beta, at + n + WIDTH, right)
            store(ahead, now + n, multiply(left, load(weights, emit + n)))
            store(ahead, now + n + WIDTH, multiply(right, load(weights, emit + n + WIDTH)))
            sums = add(sums, add(left, right))
            n += 2 * WIDTH
        if n < P:
            left = _columns(ahead, later, back, n, K, P)
            store(beta, at + n, left)
            store(ahead, now + n, multiply(left, load(weights, emit + n)))
            sums = add(sums, left)
        scale, rescaled[t], later = total(sums), one, now
        if scale < low or scale > high:
            rescaled[t] = one / scale
            _scale(beta, at, P, rescaled[t])
            _scale(ahead, now, P, rescaled[t])


@jit
def _forward(
    shown: Any, begin: int, L: int, weights: Any, move: Any, start: Any, end: Any, K: int, low: Any, prefix: Any,
    line: int,
) -> Any:  # fmt: skip
    """Fill prefix from its line `line` on with α̂; return log Σ of all paths, or NaN."""
    P, one = start.size, start.dtype.type(1)
    log_scale, product, high = 0.0, 1.0, one / low
    now = before = line * P
    for t in range(L):
        emit, sums, n = shown[begin + t] * P, fill(start.dtype.type(0)), 0
        if t == 0:
            while n < P:
                left = multiply(load(start, n), load(weights, emit + n))
                store(prefix, now + n, left)
                sums = add(sums, left)
                n += WIDTH
        while n + WIDTH < P:
            left, right = _column_pair(prefix, before, move, n, K, P)
            left = multiply(left, load(weights, emit + n))
            right = multiply(right, load(weights, emit + n + WIDTH))
            store(prefix, now + n, left)
            store(prefix, now + n + WIDTH, right)
            sums = add(sums, add(left, right))
            n += 2 * WIDTH
        if n < P:
            left = multiply(_columns(prefix, before, move, n, K, P), load(weights, emit + n))
            store(prefix, now + n, left)
            sums = add(sums, left)
        scale = total(sums)
        if scale < low or scale > high:
            _scale(prefix, now, P, one / scale)
            product *= scale
            if product < 1e-200 or product > 1e200:
                log_scale += np.log(product)
                product = 1.0
        before, now = now, now + P
    final = 0.0
    for j in range(P):
        final += prefix[before + j] * end[j]
    return log_scale + np.log(product) + np.log(final)


@jit
def _combine(
    L: int, P: int, beta: Any, rescaled: Any, settings: Any, prefix: Any, line: int, gamma: Any
) -> bool:  # fmt: skip
    """Turn α̂ in `prefix` into α̂ r / o, a factor of ξ, in place; fill gamma (L · P,).

    Returns whether every o_t and factor is safe.
    """
    one, zero, safe = rescaled.dtype.type(1), rescaled.dtype.type(0), True
    for t in range(L):
        now, at, sums = (line + t) * P, t * P, fill(zero)
        for n in range(0, P, WIDTH):
            both = multiply(load(prefix, now + n), load(beta, at + n))
            store(gamma, at + n, both)
            sums = add(sums, both)
        overlap = total(sums)
        share = one / overlap
        factor = rescaled[t] * share
        _scale(gamma, at, P, share)
        _scale(prefix, now, P, factor)
        if not (overlap > settings[LIMIT] and factor < settings[HIGHEST]):
            safe = False
    return safe


@jit
def row_posteriors(
    begin: int, stop: int, scores: Any, first: Any, stride: int, lengths: Any, move: Any, back: Any, start: Any,
    end: Any, settings: Any, lines: Any, prefix: Any, ahead: Any, states: Any, log_z: Any, unsafe: Any,
) -> None:  # fmt: skip
    """Compute the rows begin … stop − 1.

    Args:
        begin: first row.
        stop: row after the last.
        scores: emissions, flat.
        first: (B,), where each row's first step begins in `scores`.
        stride: numbers from one step of a row to the next.
        lengths: (B,).
        move: (K · P,), E.
        back: (K · P,), its transpose.
        start: (P,), exponentiated.
        end: (P,), exponentiated.
        settings: (3,), low, limit and the highest factor.
        lines: (B,), each row's first line in `prefix` and `ahead`.
        prefix: (Σ lengths · P,), receives α̂ r / o.
        ahead: (Σ lengths · P,), receives w ∘ β̂, 0 at a row's first step.
        states: like `scores`, receives γ; what lies beyond a row's length is not touched.
        log_z: (B,), receives the log-partition without the tops.
        unsafe: (B,), receives whether paths may have been lost.
    """
    P, longest = start.size, 1
    K = move.size // P
    for b in range(begin, stop):
        longest = max(longest, lengths[b])
    weights, beta = np.empty(longest * P, prefix.dtype), np.empty(longest * P, prefix.dtype)
    gamma, rescaled = np.empty(longest * P, prefix.dtype), np.empty(longest, prefix.dtype)
    shown = np.arange(longest)
    for b in range(begin, stop):
        L, at, line = lengths[b], first[b], lines[b]
        if L == 0:
            log_z[b], unsafe[b] = 0.0, False
            continue
        largest = _weigh(scores, at, stride, K, P, weights[: L * P])
        log_z[b] = largest + _forward(shown, 0, L, weights, move, start, end, K, settings[LOW], prefix, line)
        _backward(shown, 0, L, weights, back, end, K, settings[LOW], beta, ahead, line, rescaled)
        safe = _combine(L, P, beta, rescaled, settings, prefix, line, gamma)
        ahead[line * P : (line + 1) * P] = 0
        unsafe[b] = not (safe and np.isfinite(log_z[b]))
        for t in range(L):
            out, found = states[at + t * stride : at + t * stride + K], gamma[t * P : t * P + K]
            for j in range(K):
                out[j] = found[j]


@jit
def symbol_posteriors(
    begin: int, stop: int, bounds: Any, symbols: Any, first: Any, lengths: Any, table: Any, move: Any, back: Any,
    start: Any, end: Any, settings: Any, prefix: Any, ahead: Any, emitted: Any, edges: Any, log_z: Any, unsafe: Any,
) -> None:  # fmt: skip
    """Compute the blocks begin … stop − 1 of sequences of symbols; block c holds sequences bounds[c] … bounds[c + 1].

    The blocks are the same whatever the number of threads, and so are the sums.

    Args:
        begin: first block.
        stop: block after the last.
        bounds: (blocks + 1,).
        symbols: (N,), the line of `table` that each step shows.
        first: (S,), each sequence's first step.
        lengths: (S,).
        table: (M · P,), each symbol's weights.
        move, back, start, end, settings, prefix, ahead, log_z, unsafe: as in `row_posteriors`.
        emitted: (blocks, M · P), receives each block's sum of γ by symbol.
        edges: (blocks, 2 · P), receives the sums of γ at the first and the last steps.
    """
    P = start.size
    K = move.size // P
    for c in range(begin, stop):
        longest = 1
        for b in range(bounds[c], bounds[c + 1]):
            longest = max(longest, lengths[b])
        beta, gamma = np.empty(longest * P, prefix.dtype), np.empty(longest * P, prefix.dtype)
        rescaled = np.empty(longest, prefix.dtype)
        for b in range(bounds[c], bounds[c + 1]):
            at, L = first[b], lengths[b]
            log_z[b], unsafe[b] = 0.0, False
            if L == 0:
                continue
            log_z[b] = _forward(symbols, at, L, table, move, start, end, K, settings[LOW], prefix, at)
            _backward(symbols, at, L, table, back, end, K, settings[LOW], beta, ahead, at, rescaled)
            safe = _combine(L, P, beta, rescaled, settings, prefix, at, gamma)
            ahead[at * P : (at + 1) * P] = 0
            unsafe[b] = not (safe and np.isfinite(log_z[b]))
            if not unsafe[b]:
                _count(symbols, at, L, P, gamma, emitted[c], edges[c])


@jit
def _count(shown: Any, begin: int, L: int, P: int, gamma: Any, emitted: Any, edges: Any) -> None:
    """Add each step's γ to its symbol's line of emitted (M · P,), and the first's and last's to edges (2 · P,)."""
    for t in range(L):
        line = shown[begin + t] * P
        for n in range(0, P, WIDTH):
            store(emitted, line + n, add(load(emitted, line + n), load(gamma, t * P + n)))
    for j in range(P):
        edges[j] += gamma[j]
        edges[P + j] += gamma[(L - 1) * P + j]
