"""Forward–backward in scaled probabilities for rows of any length, compiled: one row at a time, cache-hot.

The recursions of `seqlab.chain.messages`, each direction with a scale of its own, so that the two can run at once:

    α̂_t = (α̂_{t−1} E) ∘ w_t · 1/c_t      E = exp(transitions − top),  w_t = exp(emissions_t − largest emission_t)
    β̂_{t−1} = E (w_t ∘ β̂_t) · r_{t−1}
    γ_t = α̂_t ∘ β̂_t / o_t                 o_t = Σ_j α̂_t(j) β̂_t(j)
    ξ_t(i, j) = α̂_{t−1}(i) · r_{t−1} / o_{t−1} · E(i, j) · w_t(j) β̂_t(j)

Rabiner (1989, section V.A) scales at every step; here c_t and r_t are 1 while the sum stays between `low` and
1 / `low`, which keeps the sum and its reciprocal out of the chain of dependent operations. Since o_t divides each
step's result anew, rounding doesn't pile up over thousands of steps.

What is lost. A factor w, E, start or end below the smallest number, `tiny`, becomes 0, and all paths through it are
gone. As no α̂ or β̂ exceeds 1 / `low`, what is gone of α̂_t weighs at most tiny / low · 1 / c_t, which β̂_t multiplies
by at most 1 / low; the same with r_t for 1 / c_t is true of β̂_t. So a step loses at most K · tiny · m_t / (low² · o_t)
of the whole, m_t = max(1, 1 / c_t, r_t): nothing that the result could show as long as o_t > `limit` · m_t.
Otherwise, or where a sum is 0 or not a number, the row is marked `unsafe` and the caller computes it again with more
care.

Widths: K states are padded with zeros to P, a multiple of the vector width, so that inner loops have no remainder.
Arrays of P numbers a line are passed flat, with the place where a line begins.
"""

from typing import Any

import numpy as np

from seqlab.chain.outer_kernels import add_outer_sums
from seqlab.exp_kernels import fast_exp
from seqlab.kernels import inlined, jit
from seqlab.vector_kernels import WIDTH, add, fill, load, multiply, multiply_add, store, total

__all__ = ["exponentiate", "packed_posteriors", "row_posteriors"]

# Fields of `settings`: see `seqlab.chain.compiled`.
LOW, LIMIT, HIGHEST = 0, 1, 2
CHUNK = 256  # steps


@jit
def exponentiate(
    transitions: Any, start: Any, end: Any, matrix: Any, move: Any, back: Any, first: Any, last: Any, tops: Any
) -> None:
    """Exponentiate a chain's scores less the largest of each of the three; what is −inf throughout becomes NaN or 0.

    Args:
        transitions: (K, K), any floats.
        start: (K,).
        end: (K,).
        matrix: (K, K), float64, receives E.
        move: (K, P), receives E.
        back: (K, P), receives its transpose.
        first: (P,), receives exp(start − its largest).
        last: (P,), receives exp(end − its largest).
        tops: (3,), receives the largest scores, 0 for −inf.
    """
    K = len(start)
    for n in range(3):
        tops[n] = -np.inf
    for i in range(K):
        tops[1], tops[2] = max(tops[1], start[i]), max(tops[2], end[i])
        for j in range(K):
            tops[0] = max(tops[0], transitions[i, j])
    for n in range(3):
        tops[n] = 0.0 if tops[n] == -np.inf else tops[n]
    for i in range(K):
        first[i], last[i] = np.exp(np.float64(start[i]) - tops[1]), np.exp(np.float64(end[i]) - tops[2])
        for j in range(K):
            matrix[i, j] = np.exp(np.float64(transitions[i, j]) - tops[0])
            move[i, j] = matrix[i, j]
            back[j, i] = matrix[i, j]


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
    shown: Any, begin: int, L: int, weights: Any, back: Any, last: Any, last_rescaled: Any, K: int, low: Any,
    beta: Any, ahead: Any, line: int, rescaled: Any,
) -> None:  # fmt: skip
    """Fill beta (L · P,) with β̂, ahead from its line `line` on with w ∘ β̂, and rescaled (L,) with r_t.

    Step t has the weights of line `shown[begin + t]`; β̂ and r of the last step are given.
    """
    P, one = last.size, last.dtype.type(1)
    high, at, later = one / low, (L - 1) * P, (line + L - 1) * P
    emit = shown[begin + L - 1] * P
    for n in range(0, P, WIDTH):
        store(beta, at + n, load(last, n))
        store(ahead, later + n, multiply(load(last, n), load(weights, emit + n)))
    rescaled[L - 1] = last_rescaled
    for t in range(L - 2, -1, -1):
        at, now, emit = at - P, later - P, shown[begin + t] * P
        sums, n = fill(last.dtype.type(0)), 0
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
def _backward_once(ahead: Any, back: Any, K: int, low: Any, before: Any) -> Any:
    """Fill before (P,) with β̂ of the step before that of the first line of `ahead`; return its r."""
    P, one, sums = before.size, before.dtype.type(1), fill(before.dtype.type(0))
    for n in range(0, P, WIDTH):
        column = _columns(ahead, 0, back, n, K, P)
        store(before, n, column)
        sums = add(sums, column)
    scale = total(sums)
    if scale < low or scale > one / low:
        _scale(before, 0, P, one / scale)
        return one / scale
    return one


@jit
def _forward(
    shown: Any, begin: int, L: int, weights: Any, move: Any, start: Any, begins: bool, K: int, low: Any, prefix: Any,
    line: int, divided: Any, scales: Any,
) -> None:  # fmt: skip
    """Fill prefix from its line `line` on with α̂; the line before holds the α̂ before, unless the sequence `begins`.

    Fills divided (L,) with c_t. Their product is kept in scales (2,): a logarithm and a factor that is still to be
    taken of.
    """
    P, one = start.size, start.dtype.type(1)
    high, now = one / low, line * P
    for t in range(L):
        before, emit, sums, n = now - P, shown[begin + t] * P, fill(start.dtype.type(0)), 0
        if begins and t == 0:
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
        scale, divided[t] = total(sums), one
        if scale < low or scale > high:
            divided[t] = scale
            _scale(prefix, now, P, one / scale)
            scales[1] *= scale
            if scales[1] < 1e-200 or scales[1] > 1e200:
                scales[0] += np.log(scales[1])
                scales[1] = 1.0
        now += P


@jit
def _log_sum(prefix: Any, line: int, end: Any, scales: Any) -> Any:
    """Return log Σ of all paths from the last line of α̂, or NaN."""
    final = 0.0
    for j in range(end.size):
        final += prefix[line * end.size + j] * end[j]
    return scales[0] + np.log(scales[1]) + np.log(final)


@jit
def _combine(
    L: int, P: int, beta: Any, rescaled: Any, divided: Any, settings: Any, prefix: Any, line: int, gamma: Any
) -> bool:
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
        magnified = max(rescaled[t], one / divided[t])
        if not (overlap > settings[LIMIT] * max(magnified, one) and factor < settings[HIGHEST]):
            safe = False
    return safe


@inlined
def _copy(source: Any, at: int, size: int, target: Any, to: int) -> None:
    for j in range(size):
        target[to + j] = source[at + j]


@inlined
def _count(shown: Any, begin: int, L: int, P: int, gamma: Any, emitted: Any) -> None:
    """Add each step's γ to its symbol's line of emitted (M · P,)."""
    for t in range(L):
        line = shown[begin + t] * P
        for n in range(0, P, WIDTH):
            store(emitted, line + n, add(load(emitted, line + n), load(gamma, t * P + n)))


@jit
def row_posteriors(
    begin: int, stop: int, scores: Any, first: Any, stride: int, lengths: Any, move: Any, back: Any, start: Any,
    end: Any, settings: Any, lines: Any, prefix: Any, ahead: Any, states: Any, log_z: Any, unsafe: Any,
) -> None:  # fmt: skip
    """Compute the rows begin … stop − 1, and keep both factors of ξ.

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
    P, longest, one = start.size, 1, start.dtype.type(1)
    K, low = move.size // P, settings[LOW]
    for b in range(begin, stop):
        longest = max(longest, lengths[b])
    weights, beta = np.empty(longest * P, prefix.dtype), np.empty(longest * P, prefix.dtype)
    gamma, rescaled = np.empty(longest * P, prefix.dtype), np.empty(longest, prefix.dtype)
    divided, shown, scales = np.empty(longest, prefix.dtype), np.arange(longest), np.empty(2)
    for b in range(begin, stop):
        L, at, line = lengths[b], first[b], lines[b]
        if L == 0:
            log_z[b], unsafe[b] = 0.0, False
            continue
        scales[0], scales[1] = 0.0, 1.0
        largest = _weigh(scores, at, stride, K, P, weights[: L * P])
        _backward(shown, 0, L, weights, back, end, one, K, low, beta, ahead, line, rescaled)
        _forward(shown, 0, L, weights, move, start, True, K, low, prefix, line, divided, scales)
        log_z[b] = largest + _log_sum(prefix, line + L - 1, end, scales)
        safe = _combine(L, P, beta, rescaled, divided, settings, prefix, line, gamma)
        ahead[line * P : (line + 1) * P] = 0
        unsafe[b] = not (safe and np.isfinite(log_z[b]))
        for t in range(L):
            _copy(gamma, t * P, K, states, at + t * stride)


@jit
def packed_posteriors(
    begin: int, stop: int, bounds: Any, skipped: Any, scores: Any, symbols: Any, first: Any, lengths: Any, move: Any,
    back: Any, start: Any, end: Any, settings: Any, states: Any, emitted: Any, edges: Any, joint: Any, log_z: Any,
    unsafe: Any,
) -> None:  # fmt: skip
    """Compute the blocks begin … stop − 1 of sequences, and add up what they expect.

    A block is the same whatever the number of threads, and so are its sums. A sequence is taken `CHUNK` steps at a
    time, so that nothing but its results is as long as it is: backward once over all of it for β̂ at the chunks' ends,
    then forward chunk by chunk, with β̂ inside the chunk computed anew.

    Args:
        begin: first block.
        stop: block after the last.
        bounds: (blocks + 1,); block c holds the sequences bounds[c] … bounds[c + 1] − 1.
        skipped: (S,), sequences to leave out.
        scores: (N · K,), emissions; or with symbols (M · P,), each symbol's weights.
        symbols: (N,), the line of `scores` that each step shows, or empty.
        first: (S,), each sequence's first step.
        lengths: (S,).
        move, back, start, end, settings, log_z, unsafe: as in `row_posteriors`.
        states: (N · K,), receives γ, or empty.
        emitted: (blocks, M · P), receives each block's sum of γ by symbol; with symbols only.
        edges: (blocks, 2 · P), receives the sums of γ at the first and the last steps.
        joint: (blocks, P · P), receives Σ α̂ r / o · w β̂, which is Σ ξ without E.
    """
    P, one, dtype = start.size, start.dtype.type(1), start.dtype
    K, low, most = move.size // P, settings[LOW], 1
    for b in range(bounds[begin], bounds[stop]):
        most = max(most, -(-lengths[b] // CHUNK))
    ends, ends_rescaled = np.empty((most, P), dtype), np.empty(most, dtype)
    weights, shown, rows = scores, symbols, np.arange(CHUNK)
    if symbols.size == 0:
        weights, shown = np.empty(CHUNK * P, dtype), rows
    beta, ahead, gamma = np.empty(CHUNK * P, dtype), np.empty(CHUNK * P, dtype), np.empty(CHUNK * P, dtype)
    prefix, rescaled, scales = np.empty((CHUNK + 1) * P, dtype), np.empty(CHUNK, dtype), np.empty(2)
    divided, message, factor = np.empty(CHUNK, dtype), np.empty(P, dtype), np.empty(P, dtype)
    for c in range(begin, stop):
        for b in range(bounds[c], bounds[c + 1]):
            L = lengths[b]
            if skipped[b]:
                continue
            log_z[b], unsafe[b] = 0.0, False
            if L == 0:
                continue
            chunks, largest, safe = -(-L // CHUNK), 0.0, True
            ends[chunks - 1], ends_rescaled[chunks - 1], scales[0], scales[1] = end, one, 0.0, 1.0
            factor[:] = 0
            for q in range(chunks - 1, 0, -1):
                at, n = first[b] + q * CHUNK, min(CHUNK, L - q * CHUNK)
                if symbols.size == 0:
                    _weigh(scores, at * K, K, K, P, weights[: n * P])
                shift = at if symbols.size > 0 else 0
                _backward(shown, shift, n, weights, back, ends[q], ends_rescaled[q], K, low, beta, ahead, 0, rescaled)
                ends_rescaled[q - 1] = _backward_once(ahead, back, K, low, ends[q - 1])
            for q in range(chunks):
                at, n = first[b] + q * CHUNK, min(CHUNK, L - q * CHUNK)
                if symbols.size == 0:
                    largest += _weigh(scores, at * K, K, K, P, weights[: n * P])
                shift = at if symbols.size > 0 else 0
                _backward(shown, shift, n, weights, back, ends[q], ends_rescaled[q], K, low, beta, ahead, 0, rescaled)
                _forward(shown, shift, n, weights, move, start, q == 0, K, low, prefix, 1, divided, scales)
                message[:] = prefix[n * P : (n + 1) * P]
                safe = _combine(n, P, beta, rescaled, divided, settings, prefix, 1, gamma) and safe
                prefix[:P] = factor  # the moves into step t join line t of prefix and line t of ahead
                add_outer_sums(prefix, ahead, 0, n * P, P, joint[c], 0)
                factor[:] = prefix[n * P : (n + 1) * P]
                prefix[:P] = message
                if states.size > 0:
                    for t in range(n):
                        _copy(gamma, t * P, K, states, (at + t) * K)
                if symbols.size > 0:
                    _count(symbols, at, n, P, gamma, emitted[c])
                if q == 0:
                    edges[c, :P] += gamma[:P]
                if q == chunks - 1:
                    edges[c, P:] += gamma[(n - 1) * P : n * P]
            log_z[b] = largest + _log_sum(message, 0, end, scales)
            unsafe[b] = not (safe and np.isfinite(log_z[b]))
