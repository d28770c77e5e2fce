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
"""

from typing import Any

import numpy as np

from seqlab.exp_kernels import fast_exp
from seqlab.kernels import jit

__all__ = ["row_posteriors", "symbol_posteriors"]

# Fields of `settings`: see `seqlab.chain.compiled`.
LOW, LIMIT, HIGHEST = 0, 1, 2


@jit
def _weigh(scores: Any, at: int, stride: int, K: int, weights: Any) -> float:
    """Fill weights (steps, P) with exp(score − largest of its step) and return the sum of the largest.

    Step t's scores lie at `scores[at + t · stride]`.
    """
    total = 0.0
    for t in range(len(weights)):
        row, emit = scores[at + t * stride : at + t * stride + K], weights[t]
        largest = row[0]
        for j in range(K):
            largest = max(largest, row[j])
        total += largest
        for j in range(K):
            emit[j] = fast_exp(row[j] - largest)
        for j in range(K, emit.size):
            emit[j] = 0
    return total


@jit
def _product(row: Any, matrix: Any, out: Any) -> None:
    """out = row · matrix; (K,) · (K, P) → (P,). Eight rows of the matrix at a time, so that `out` is met seldom."""
    K, P = matrix.shape
    zero = out.dtype.type(0)
    for j in range(P):
        out[j] = zero
    i = 0
    while i + 7 < K:
        a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
        e, f, g, h = row[i + 4], row[i + 5], row[i + 6], row[i + 7]
        for j in range(P):
            early = a * matrix[i, j] + b * matrix[i + 1, j] + c * matrix[i + 2, j] + d * matrix[i + 3, j]
            late = e * matrix[i + 4, j] + f * matrix[i + 5, j] + g * matrix[i + 6, j] + h * matrix[i + 7, j]
            out[j] += early + late
        i += 8
    while i + 3 < K:
        a, b, c, d = row[i], row[i + 1], row[i + 2], row[i + 3]
        for j in range(P):
            out[j] += a * matrix[i, j] + b * matrix[i + 1, j] + c * matrix[i + 2, j] + d * matrix[i + 3, j]
        i += 4
    while i < K:
        a = row[i]
        for j in range(P):
            out[j] += a * matrix[i, j]
        i += 1


@jit
def _sum(values: Any) -> Any:
    total = values.dtype.type(0)
    for j in range(values.size):
        total += values[j]
    return total


@jit
def _forward(shown: Any, weights: Any, move: Any, start: Any, end: Any, low: Any, alpha: Any) -> Any:
    """Fill alpha (L, P), where step t has the weights of line `shown[t]`; return log Σ of all paths, or NaN."""
    L, P = alpha.shape
    message = np.empty(P, alpha.dtype)
    log_scale, product, high = 0.0, 1.0, alpha.dtype.type(1) / low
    for t in range(L):
        now, emit = alpha[t], weights[shown[t]]
        if t == 0:
            for j in range(P):
                now[j] = start[j] * emit[j]
        else:
            _product(alpha[t - 1], move, message)
            for j in range(P):
                now[j] = message[j] * emit[j]
        scale = _sum(now)
        if scale < low or scale > high:
            inverse = alpha.dtype.type(1) / scale
            for j in range(P):
                now[j] *= inverse
            product *= scale
            if product < 1e-200 or product > 1e200:
                log_scale += np.log(product)
                product = 1.0
    final, last = 0.0, alpha[L - 1]
    for j in range(P):
        final += last[j] * end[j]
    return log_scale + np.log(product) + np.log(final)


@jit
def _backward(shown: Any, weights: Any, back: Any, end: Any, low: Any, beta: Any, rescaled: Any) -> None:
    """Fill beta (L, P) and rescaled (L,) = r_t."""
    L, P = beta.shape
    one, ahead = beta.dtype.type(1), np.empty(P, beta.dtype)
    high = one / low
    for j in range(P):
        beta[L - 1, j] = end[j]
    rescaled[L - 1] = one
    for t in range(L - 1, 0, -1):
        emit, now, before = weights[shown[t]], beta[t], beta[t - 1]
        for j in range(P):
            ahead[j] = emit[j] * now[j]
        _product(ahead, back, before)
        scale = _sum(before)
        rescaled[t - 1] = one
        if scale < low or scale > high:
            inverse = one / scale
            for j in range(P):
                before[j] *= inverse
            rescaled[t - 1] = inverse


@jit
def _combine(shown: Any, weights: Any, alpha: Any, beta: Any, rescaled: Any, settings: Any, gamma: Any) -> bool:
    """Turn α̂ into α̂ r / o and β̂ into w ∘ β̂, the two factors of ξ, in place; fill gamma (steps, K).

    Returns whether every o_t and factor is safe.
    """
    L, P = alpha.shape
    one, safe = alpha.dtype.type(1), True
    for t in range(L):
        now, later, emit, posterior = alpha[t], beta[t], weights[shown[t]], gamma[t]
        overlap = alpha.dtype.type(0)
        for j in range(P):
            overlap += now[j] * later[j]
        share = one / overlap
        for j in range(posterior.size):
            posterior[j] = now[j] * later[j] * share
        factor = rescaled[t] * share
        for j in range(P):
            now[j] *= factor
            later[j] *= emit[j]
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
        move: (K, P), E.
        back: (K, P), its transpose.
        start: (P,), exponentiated.
        end: (P,), exponentiated.
        settings: (3,), low, limit and the highest factor.
        lines: (B,), each row's first line in `prefix` and `ahead`.
        prefix: (Σ lengths, P), receives α̂ r / o.
        ahead: (Σ lengths, P), receives w ∘ β̂, 0 at a row's first step.
        states: like `scores`, receives γ; what lies beyond a row's length is not touched.
        log_z: (B,), receives the log-partition without the tops.
        unsafe: (B,), receives whether paths may have been lost.
    """
    K, P = move.shape
    longest = 1
    for b in range(begin, stop):
        longest = max(longest, lengths[b])
    weights, gamma = np.empty((longest, P), prefix.dtype), np.empty((longest, K), prefix.dtype)
    rescaled, shown = np.empty(longest, prefix.dtype), np.arange(longest)
    for b in range(begin, stop):
        L, at = lengths[b], first[b]
        if L == 0:
            log_z[b], unsafe[b] = 0.0, False
            continue
        alpha, beta = prefix[lines[b] : lines[b] + L], ahead[lines[b] : lines[b] + L]
        total = _weigh(scores, at, stride, K, weights[:L])
        log_z[b] = total + _forward(shown, weights, move, start, end, settings[LOW], alpha)
        _backward(shown, weights, back, end, settings[LOW], beta, rescaled)
        safe = _combine(shown, weights, alpha, beta, rescaled, settings, gamma)
        beta[0] = 0
        unsafe[b] = not (safe and np.isfinite(log_z[b]))
        for t in range(L):
            out = states[at + t * stride : at + t * stride + K]
            for j in range(K):
                out[j] = gamma[t, j]


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
        table: (M, P), each symbol's weights.
        move, back, start, end, settings, prefix, ahead, log_z, unsafe: as in `row_posteriors`.
        emitted: (blocks, M, K), receives each block's sum of γ by symbol.
        edges: (blocks, 2, K), receives the sums of γ at the first and the last steps.
    """
    K = len(move)
    for c in range(begin, stop):
        longest = 1
        for b in range(bounds[c], bounds[c + 1]):
            longest = max(longest, lengths[b])
        gamma, rescaled = np.empty((longest, K), prefix.dtype), np.empty(longest, prefix.dtype)
        for b in range(bounds[c], bounds[c + 1]):
            at, L = first[b], lengths[b]
            log_z[b], unsafe[b] = 0.0, False
            if L == 0:
                continue
            shown, alpha, beta = symbols[at : at + L], prefix[at : at + L], ahead[at : at + L]
            log_z[b] = _forward(shown, table, move, start, end, settings[LOW], alpha)
            _backward(shown, table, back, end, settings[LOW], beta, rescaled)
            safe = _combine(shown, table, alpha, beta, rescaled, settings, gamma)
            beta[0] = 0
            unsafe[b] = not (safe and np.isfinite(log_z[b]))
            if not unsafe[b]:
                _count(shown, gamma[:L], emitted[c], edges[c])


@jit
def _count(shown: Any, gamma: Any, emitted: Any, edges: Any) -> None:
    """Add each step's γ to its symbol's line, and the first's and last's to `edges`."""
    L, K = gamma.shape
    for t in range(L):
        line, posterior = emitted[shown[t]], gamma[t]
        for j in range(K):
            line[j] += posterior[j]
    for j in range(K):
        edges[0, j] += gamma[0, j]
        edges[1, j] += gamma[L - 1, j]
