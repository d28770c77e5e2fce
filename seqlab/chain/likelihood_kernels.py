"""The score of given paths and the gradient of their log-likelihood, compiled.

Layouts as in `seqlab.chain.posterior_kernels`; tags lie at `tags[tag_first[b] + t · tag_stride]`.
"""

from typing import Any

from seqlab.kernels import jit

__all__ = ["path_counts", "path_scores"]


@jit
def path_scores(
    begin: int, stop: int, scores: Any, first: Any, stride: int, lengths: Any, tags: Any, tag_first: Any,
    tag_stride: int, transitions: Any, start: Any, end: Any, states: Any, out: Any,
) -> None:  # fmt: skip
    """Sum in float64 what each path meets: s(y) of the package docstring; a tag out of range gives NaN.

    `states` holds γ, laid out as `scores`; 1{y_t = j} is taken off it. It may be empty.
    """
    K = start.size
    for b in range(begin, stop):
        total, before = 0.0, 0
        for t in range(lengths[b]):
            tag = tags[tag_first[b] + t * tag_stride]
            if tag < 0 or tag >= K:
                total += float("nan")
                tag = 0
            at = first[b] + t * stride + tag
            total += scores[at]
            total += start[tag] if t == 0 else transitions[before, tag]
            before = tag
            if states.size > 0:
                states[at] -= 1
        out[b] = total + end[before] if lengths[b] > 0 else 0.0


@jit
def path_counts(
    begin: int, stop: int, gradients: Any, first: Any, stride: int, lengths: Any, tags: Any, tag_first: Any,
    tag_stride: int, weights: Any, pairs: Any, start: Any, end: Any,
) -> None:  # fmt: skip
    """Add each row's weight to its path's moves, pairs (K, K), and its outer steps' gradients to start and end, (K,).

    `gradients` are those by the emissions, laid out as `scores` in `path_scores`.
    """
    for b in range(begin, stop):
        L = lengths[b]
        if L == 0:
            continue
        before = tags[tag_first[b]]
        for t in range(1, L):
            tag = tags[tag_first[b] + t * tag_stride]
            pairs[before, tag] += weights[b]
            before = tag
        for j in range(start.size):
            start[j] += gradients[first[b] + j]
            end[j] += gradients[first[b] + (L - 1) * stride + j]
