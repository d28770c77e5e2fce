"""The k best paths of a linear chain: list Viterbi (Seshadri and Sundberg 1994, the parallel algorithm).

Viterbi keeps the best path into each state. Keep the k best instead: a path among the k best of the whole chain
that passes through state i at step t must begin with one of the k best paths into i, or k better ones existed.
With δ_t(j, r) the score of the r-th best path into state j,

    δ_1(j, 1) = start[j] + emissions[1, j]
    δ_t(j, ·) = the k largest of { δ_{t−1}(i, r) + transitions[i, j] : all i, r }  + emissions[t, j]

and each entry remembers the (i, r) it came from. At the end the k largest of δ_n(j, r) + end[j] are the paths'
scores, read backwards along the remembered entries. That is n·K lists of k entries, each merged from K lists
that are already sorted.

Ties. Of equally good paths the one whose last state has the lower index comes first; if that is the same, the
last but one decides, and so on: every list is sorted by (score, i, r). So the first path is that of
`seqlab.chain.viterbi`. Equal means equal after rounding to float64.

N. Seshadri and C.-E. W. Sundberg: List Viterbi decoding algorithms with applications. IEEE Transactions on
Communications 42, 1994.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from seqlab import kernels
from seqlab.chain.doubles import Doubles
from seqlab.chain.inputs import mask_from_lengths, result_dtype
from seqlab.errors import ShapeError

__all__ = ["KBest", "k_best"]

NEVER = float("-inf")


class KBest(NamedTuple):
    """The k best paths of every row, best first.

    Attributes:
        tags: (k, T, B), int64; −1 beyond a row's length and in paths that do not exist.
        score: (k, B), descending; −inf for paths that do not exist. The one path of an empty row has score 0.
        counts: (B,), int64, how many of the k paths exist: fewer than k where fewer are allowed at all.
    """

    tags: Tensor
    score: Tensor
    counts: Tensor


@torch.no_grad()
def k_best(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None, *, k: int
) -> KBest:
    """Find the k paths of highest score, without gradient.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.
        k: how many paths to look for, at least 1.

    Raises:
        ShapeError: a shape, a dtype, a length or k is wrong, or a score is NaN or +inf.
    """
    if k < 1:
        raise ShapeError(f"k must be at least 1, got {k}")
    chain = Doubles.of(emissions, transitions, start, end, lengths)
    dtype = result_dtype(emissions, transitions, start, end)
    T, B, _ = emissions.shape  # time steps, batch
    if T == 0 or B == 0:
        score = torch.full((k, B), NEVER, dtype=dtype, device=emissions.device)
        score[0] = 0.0
        return KBest(chain.lengths.new_empty((k, T, B)), score, torch.ones_like(chain.lengths))
    compiled = kernels.enabled() and emissions.device.type == "cpu"
    tags, score = _compiled(chain, k) if compiled else _eager(chain, k)
    return KBest(tags, score.to(dtype), (score > NEVER).sum(dim=0))


def _compiled(chain: Doubles, k: int) -> tuple[Tensor, Tensor]:
    from seqlab.chain.kbest_kernels import best_paths

    T, B, K = chain.emissions.shape  # time steps, batch, states
    tags = chain.lengths.new_full((B, k, T), -1)
    score = chain.emissions.new_full((B, k), NEVER)
    into = chain.transitions.T.contiguous()  # (K to, K from)
    arrays = (chain.emissions.contiguous(), into, chain.start.contiguous(), chain.end.contiguous(), chain.lengths)
    inputs = (array.numpy() for array in arrays)
    kernels.run(best_paths, B, 20.0 * T * B * K * (K + k), *inputs, tags.numpy(), score.numpy())
    return tags.permute(1, 2, 0), score.T


def _eager(chain: Doubles, k: int) -> tuple[Tensor, Tensor]:
    """Return tags (k, T, B) and scores (k, B); all rows take each step together."""
    T, B, K = chain.emissions.shape  # time steps, batch, states
    inside = mask_from_lengths(chain.lengths, T)  # (T, B)
    lists = chain.emissions.new_full((B, K, k), NEVER)  # δ_t(j, r)
    lists[:, :, 0] = chain.start + chain.emissions[0]
    came_from = chain.lengths.new_empty((T, B, K, k))  # i·k + r
    for t in range(1, T):
        candidates = lists.unsqueeze(1) + chain.transitions.T.unsqueeze(2)  # (B, K to, K from, k)
        best, came_from[t] = _largest(candidates.flatten(2), k)  # (B, K, k)
        best += chain.emissions[t].unsqueeze(2)
        lists = torch.where(inside[t].view(B, 1, 1), best, lists)
    final, entry = _largest((lists + chain.end.unsqueeze(1)).flatten(1), k)  # (B, k)
    empty = (chain.lengths == 0).unsqueeze(1)
    only = torch.full_like(final, NEVER)
    only[:, 0] = 0.0
    score = torch.where(empty, only, final)

    tags = chain.lengths.new_empty((T, B, k))
    for t in range(T - 1, -1, -1):
        tags[t] = torch.where(inside[t].unsqueeze(1), entry // k, -1)
        if t > 0:
            before = came_from[t].flatten(1).gather(1, entry)  # (B, k)
            entry = torch.where(inside[t].unsqueeze(1), before, entry)
    return tags.masked_fill(score == NEVER, -1).permute(2, 0, 1), score.T


def _largest(candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of the last dimension and where they were; equal ones in their order of before."""
    values, places = candidates.sort(dim=-1, descending=True, stable=True)  # topk leaves ties to chance
    return values[..., :k], places[..., :k]
