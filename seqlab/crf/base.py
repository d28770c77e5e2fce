"""What the linear-chain and the semi-Markov CRF share: transition parameters, constraints, checks, reductions."""

import torch
from torch import Tensor, nn

from seqlab import chain
from seqlab.crf.checks import check_tensor, positive
from seqlab.crf.constraints import TransitionConstraints
from seqlab.errors import ShapeError

__all__ = ["REDUCTIONS", "TransitionModule", "check_reduction", "reduced", "refuse_pathless"]

REDUCTIONS = ("none", "sum", "mean", "token_mean")


class TransitionModule(nn.Module):
    """Transition scores between `num_tags` tags, and the checks of a batch.

    Args and attributes as in `CRF`.
    """

    _forbidden_start: Tensor | None
    _forbidden_end: Tensor | None
    _forbidden_pairs: Tensor | None

    def __init__(
        self, num_tags: int, batch_first: bool, constraints: TransitionConstraints | None, allow_empty: bool
    ) -> None:
        num_tags = positive("num_tags", num_tags, "number of tags")
        super().__init__()
        self.num_tags = num_tags
        self.batch_first = batch_first
        self.allow_empty = allow_empty
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        for name in ("start", "end", "pairs"):
            allowed = None if constraints is None else getattr(constraints, name, None)
            shape = (num_tags, num_tags) if name == "pairs" else (num_tags,)
            if constraints is not None:
                check_tensor(f"constraints.{name}", allowed)
            if allowed is not None and tuple(allowed.shape) != shape:
                raise ShapeError(f"constraints.{name} must have shape {shape}, got {tuple(allowed.shape)}")
            forbidden = None if allowed is None else ~allowed.bool()
            self.register_buffer(f"_forbidden_{name}", forbidden, persistent=False)

    def reset_parameters(self) -> None:
        """Draw every score uniformly from −0.1 … 0.1."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_tags={self.num_tags})"

    def transition_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (K, K) transitions, (K,) start and (K,) end scores, −inf where the constraints forbid."""
        scores = (self.transitions, self.start_transitions, self.end_transitions)
        forbidden = (self._forbidden_pairs, self._forbidden_start, self._forbidden_end)
        pairs, start, end = (
            score if where is None else score.masked_fill(where, float("-inf"))
            for score, where in zip(scores, forbidden, strict=True)
        )
        return pairs, start, end

    def _time_first(self, values: Tensor) -> Tensor:
        """Swap batch and time if the batch comes first; its own inverse."""
        return values.transpose(0, 1) if self.batch_first else values

    def _validate(self, emissions: Tensor, mask: Tensor | None, **others: Tensor) -> Tensor:
        """Check the arguments' shapes and types (the mask's: bool or integer) and return the (B,) lengths.

        `others` are (T, B) or (T, B, …) tensors, checked before the mask. Under `torch.compile` and
        `torch.export` the mask's contents are taken on trust.
        """
        check_tensor("emissions", emissions)
        if emissions.dim() != 3:
            raise ShapeError(f"emissions must have dimension of 3, got {emissions.dim()}")
        if emissions.size(2) != self.num_tags:
            raise ShapeError(f"expected last dimension of emissions is {self.num_tags}, got {emissions.size(2)}")
        steps = tuple(emissions.shape[:2])
        for name, values in (others if mask is None else {**others, "mask": mask}).items():
            check_tensor(name, values)
            if tuple(values.shape) != steps:
                raise ShapeError(
                    f"the first two dimensions of emissions and {name} must match, "
                    f"got {steps} and {tuple(values.shape)}"
                )
        if not emissions.is_floating_point():
            raise ShapeError(f"emissions must be floating point, got {emissions.dtype}")
        if mask is not None and (mask.is_floating_point() or mask.is_complex()):
            raise ShapeError(f"mask must be bool or of integers, got {mask.dtype}: write mask > 0, or mask.bool()")
        T, B = self._time_first(emissions).shape[:2]
        if B == 0:
            raise ShapeError(f"emissions must hold at least one sequence, got shape {tuple(emissions.shape)}")
        if T == 0 and not self.allow_empty:
            raise ShapeError(f"emissions must hold at least one time step, got shape {tuple(emissions.shape)}")
        if mask is None:
            return torch.full((B,), T, dtype=torch.int64, device=emissions.device)
        mask = self._time_first(mask)  # (T, B)
        if torch.compiler.is_compiling():
            return mask.bool().sum(dim=0)
        if not self.allow_empty and not bool(mask[0].all()):
            raise ShapeError("mask of the first timestep must all be on")
        return chain.lengths_from_mask(mask)


def check_reduction(reduction: str) -> None:
    """Raise a ShapeError unless `reduction` is one of `REDUCTIONS`."""
    if reduction not in REDUCTIONS:
        raise ShapeError(f"invalid reduction: {reduction}")


def reduced(values: Tensor, lengths: Tensor, reduction: str) -> Tensor:
    """Reduce the (B,) values of rows with (B,) lengths."""
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values.sum() / lengths.sum().clamp(min=1)


def refuse_pathless(log_scores: Tensor, lengths: Tensor) -> None:
    """Refuse rows whose (B,) best score or log-partition is −inf.

    Raises:
        ShapeError: it names the first such row.
    """
    if torch.compiler.is_compiling():
        return
    impossible = (log_scores.detach() == float("-inf")).nonzero()
    if impossible.numel():
        row = int(impossible[0])
        raise ShapeError(f"no path is allowed for row {row} of length {int(lengths[row])}")
