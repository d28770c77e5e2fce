"""The best path of a linear chain."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqlab import kernels
from seqlab.chain.inputs import check_chain, check_numbers, mask_from_lengths, result_dtype
from seqlab.errors import ShapeError

__all__ = ["BestPath", "viterbi"]


class BestPath(NamedTuple):
    """The best path of every row.

    Attributes:
        tags: (T, B), int64, −1 beyond a row's length. Among equally good paths, the one whose last state,
            then last but one, and so on, has the lowest index.
        score: (B,), the path's score; 0 for an empty row, −inf where every path is forbidden.
    """

    tags: Tensor
    score: Tensor


@torch.no_grad()
def viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> BestPath:
    """Find the path of highest score (Viterbi 1967; Rabiner 1989, equations 32 to 35).

        δ_1(j) = start[j] + emissions[1, j]
        δ_t(j) = max_i (δ_{t-1}(i) + transitions[i, j]) + emissions[t, j]

    The path is then read backwards: y_n = argmax δ_n + end and y_t = argmax_i δ_t(i) + transitions[i, y_{t+1}].
    Finding the argmax only along that path replaces a table of back-pointers and is much cheaper.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        The tags and scores, without gradient.

    Raises:
        ShapeError: a shape, a dtype or a length is wrong, or a score is NaN or +inf.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    dtype = result_dtype(emissions, transitions, start, end)
    T, B, _ = emissions.shape  # time steps, batch, states
    if T == 0 or B == 0:
        return BestPath(lengths.new_empty((T, B)), torch.zeros(B, dtype=dtype, device=emissions.device))
    if emissions.device.type == "cpu" and kernels.enabled():
        return _compiled(emissions, transitions, start, end, lengths, dtype)
    return eager_viterbi(emissions, transitions, start, end, lengths)


@torch.no_grad()
def eager_viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, last_wins: bool = False
) -> BestPath:
    """Do the same in eager torch, in float64; T and B at least 1.

    Args:
        last_wins: among equally good predecessors take the last instead of the first.
    """
    dtype = result_dtype(emissions, transitions, start, end)
    T, B, _ = emissions.shape
    moves, rows = transitions.double(), torch.arange(B, device=emissions.device)
    deltas = _best_prefix_scores(emissions.double().transpose(1, 2).contiguous(), moves, start.double())
    final = deltas[(lengths - 1).clamp(min=0), :, rows] + end.double()  # (B, K)
    score, last = final.max(dim=1)  # (B,), (B,)
    score = score.masked_fill(lengths == 0, 0.0)
    _refuse_infinite(score, emissions, lengths)
    tags = _trace_back(deltas, moves, last, lengths, last_wins)
    return BestPath(tags.masked_fill(~mask_from_lengths(lengths, T), -1), score.to(dtype))


def _refuse_infinite(score: Tensor, emissions: Tensor, lengths: Tensor) -> None:
    """Refuse NaN and +inf, which show in the rows' scores."""
    wrong = ~(score < float("inf"))  # (B,)
    if bool(wrong.any()):
        check_numbers(emissions, lengths)
        row = int(wrong.nonzero()[0])
        raise ShapeError(f"transitions, start and end must hold no NaN and no +inf: the score of row {row} is none")


def _compiled(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, dtype: torch.dtype
) -> BestPath:
    """Do the same by the kernel, in `dtype`."""
    from seqlab.chain.compiled import WIDTH, Layout, laid_out, viterbi_moves, viterbi_work
    from seqlab.chain.viterbi_kernels import best_paths

    values, (T, B, K) = laid_out(emissions, dtype), emissions.shape
    layout = Layout.of(values)
    scores = (part.detach().to(dtype).numpy() for part in (transitions, start, end))
    ragged = int(lengths.min()) < T
    tags = torch.full((B, T), -1) if ragged else torch.empty((B, T), dtype=torch.int64)
    score, nothing = torch.empty(B, dtype=torch.float64), np.empty(0, np.int64)
    kernels.run(
        best_paths, B, viterbi_work(T * B, K), *layout, K - K % WIDTH, nothing, layout.first, lengths.numpy(),
        *viterbi_moves(*scores), False, tags.numpy().reshape(-1), np.arange(B) * T, 1, score.numpy(),
    )  # fmt: skip
    _refuse_infinite(score, emissions, lengths)
    return BestPath(tags.T, score.to(dtype))


def _best_prefix_scores(emissions: Tensor, moves: Tensor, start: Tensor) -> Tensor:
    """Return every δ_t as (T, K, B), given emissions (T, K, B). What lies beyond a row's length is never read.

    The batch comes last so that the maximum over the state before runs over contiguous rows of K·B numbers.
    """
    deltas = torch.empty_like(emissions)
    K, B = emissions.shape[1:]
    joint = emissions.new_empty((K, K, B))  # (K from, K to, B)
    delta = torch.add(start.unsqueeze(1), emissions[0], out=deltas[0])  # (K, B)
    for now, emitted in zip(deltas.unbind(0)[1:], emissions.unbind(0)[1:], strict=True):
        torch.add(delta.unsqueeze(1), moves.unsqueeze(2), out=joint)
        delta = torch.amax(joint, dim=0, out=now).add_(emitted)
    return deltas


def _trace_back(deltas: Tensor, moves: Tensor, last: Tensor, lengths: Tensor, last_wins: bool) -> Tensor:
    """Return the (T, B) states that lead to `last` (B,); a row's trace begins at its own last step."""
    T, K, B = deltas.shape  # time steps, states, batch
    tags = torch.empty((T, B), dtype=torch.int64, device=deltas.device)
    ends_later = (lengths - 1).unsqueeze(0) > torch.arange(T, device=lengths.device).unsqueeze(1)  # (T, B)
    tags[T - 1] = tag = last
    for t in range(T - 2, -1, -1):
        joint = deltas[t] + moves.index_select(1, tag)  # (K, B)
        before = K - 1 - joint.flip(0).argmax(dim=0) if last_wins else joint.argmax(dim=0)
        tag = torch.where(ends_later[t], before, last, out=tags[t])
    return tags
