"""Viterbi decoding with tensor operations alone, for `torch.export` and ONNX."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from seqlab.crf.base import TransitionModule

__all__ = ["ViterbiDecoder"]


class ViterbiDecoder(nn.Module):
    """Decode as a graph: emissions in, tags out, no Python values in between.

    The time steps are unrolled, so an exported graph is bound to its number of steps T (shorter rows by mask) and
    grows with it; the batch may be dynamic. Input is taken on trust. A row's mask is True at its first n ≥ 1 steps.

    Args:
        crf: whose parameters are used (shared, not copied), with its constraints and its layout.
    """

    def __init__(self, crf: "TransitionModule") -> None:
        super().__init__()
        self.crf = crf

    def forward(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Find the best path, with back-pointers (Rabiner 1989, equations 32 to 35).

        Args:
            emissions: (T, B, K), floating, or (B, T, K) if the CRF is batch-first.
            mask: (T, B), bool, or (B, T).

        Returns:
            Tags, shaped as the mask, int64, −1 in the padding; and their scores (B,).
        """
        transitions, start, end = self.crf.transition_scores()
        if self.crf.batch_first:
            emissions, mask = emissions.transpose(0, 1), mask.transpose(0, 1)
        delta, pointers = start + emissions[0], []  # (B, K)
        for emitted, inside in zip(emissions.unbind(0)[1:], mask.unbind(0)[1:], strict=True):
            best, before = (delta.unsqueeze(2) + transitions).max(dim=1)  # (B, K), (B, K)
            delta = torch.where(inside.unsqueeze(1), best + emitted, delta)
            pointers.append(before)
        score, tag = (delta + end).max(dim=1)  # (B,), (B,)
        tags = [tag]
        for before, inside in zip(reversed(pointers), reversed(mask.unbind(0)[1:]), strict=True):
            # Behind a row's last step the tag stays; there the trace of the row itself begins.
            tag = torch.where(inside, before.gather(1, tag.unsqueeze(1)).squeeze(1), tag)
            tags.append(tag)
        found = torch.stack(tags[::-1]).masked_fill(~mask, -1)  # (T, B)
        return (found.transpose(0, 1) if self.crf.batch_first else found), score
