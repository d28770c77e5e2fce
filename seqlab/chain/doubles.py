"""A chain in float64, ready to compute with: what `k_best`, `sample`, `entropy` and `kl` start from."""

from typing import NamedTuple

from torch import Tensor

from seqlab.chain.inputs import check_chain, mask_from_lengths
from seqlab.errors import ShapeError

__all__ = ["Doubles"]


class Doubles(NamedTuple):
    """Checked scores in float64, still connected to autograd, with zeros in the padding.

    Attributes:
        emissions: (T, B, K).
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,), int64.
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @classmethod
    def of(
        cls, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None
    ) -> "Doubles":
        """Check and convert.

        Raises:
            ShapeError: a shape, a dtype or a length is wrong, or a score is NaN or +inf.
        """
        lengths = check_chain(emissions, transitions, start, end, lengths)
        inner = emissions.double()
        if emissions.numel() and int(lengths.min()) < emissions.size(0):
            padding = ~mask_from_lengths(lengths, emissions.size(0)).unsqueeze(2)  # (T, B, 1)
            inner = inner.masked_fill(padding, 0.0)
        parts = {"emissions": inner, "transitions": transitions, "start": start, "end": end}
        for name, part in parts.items():
            # One pass: NaN and +inf both survive the maximum.
            if part.numel() and not bool(part.detach().max() < float("inf")):
                raise ShapeError(f"{name} must hold no NaN and no +inf, got {float(part.detach().max())}")
        return cls(inner, transitions.double(), start.double(), end.double(), lengths)
