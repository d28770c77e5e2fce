"""The score of given paths and the gradient of their log-likelihood, compiled.

Layouts as in `seqlab.chain.posterior_kernels`; tags lie at `tags[tag_first[b] + t · tag_stride]`.
"""

from typing import Any

from seqlab.kernels import jit

__all__ = ["gold_counts", "likelihood_gradients", "path_scores"]


@jit
def path_scores(
    begin: int, stop: int, scores: Any, first: Any, stride: int, lengths: Any, tags: Any, tag_first: Any,
    tag_stride: int, transitions: Any, start: Any, end: Any, out: Any,
) -> None:  # fmt: skip
    """Sum in float64 what each path meets: s(y) of the package docstring; a tag out of range gives NaN."""
    K = start.size
    for b in range(begin, stop):
        total, before = 0.0, 0
        for t in range(lengths[b]):
            tag = tags[tag_first[b] + t * tag_stride]
            if tag < 0 or tag >= K:
                total += float("nan")
                tag = 0
            total += scores[first[b] + t * stride + tag]
            total += start[tag] if t == 0 else transitions[before, tag]
            before = tag
        out[b] = total + end[before] if lengths[b] > 0 else 0.0


@jit
def likelihood_gradients(
    begin: int, stop: int, states: Any, first: Any, stride: int, lengths: Any, tags: Any, tag_first: Any,
    tag_stride: int, weights: Any, steps: int, K: int, out: Any,
) -> None:  # fmt: skip
    """Fill out = weights[b] · (1{y_t = j} − γ_t(j)), 0 in the padding."""
    for b in range(begin, stop):
        weight, L = weights[b], lengths[b]
        for t in range(steps):
            at = first[b] + t * stride
            gradient = out[at : at + K]
            if t >= L:
                gradient[:] = 0
                continue
            posterior = states[at : at + K]
            for j in range(K):
                gradient[j] = -weight * posterior[j]
            gradient[tags[tag_first[b] + t * tag_stride]] += weight


@jit
def gold_counts(
    begin: int, stop: int, gradients: Any, first: Any, stride: int, lengths: Any, tags: Any, tag_first: Any,
    tag_stride: int, weights: Any, pairs: Any, start: Any, end: Any,
) -> None:  # fmt: skip
    """Add each row's weight to its path's moves `pairs` (K, K), and its end steps' gradients to start and end (K,)."""
    K = start.size
    for b in range(begin, stop):
        L = lengths[b]
        if L == 0:
            continue
        before = tags[tag_first[b]]
        for t in range(1, L):
            tag = tags[tag_first[b] + t * tag_stride]
            pairs[before, tag] += weights[b]
            before = tag
        for j in range(K):
            start[j] += gradients[first[b] + j]
            end[j] += gradients[first[b] + (L - 1) * stride + j]
