"""Linear-chain conditional random field with the interface of `torchcrf.CRF` (pytorch-crf).

A CRF (Lafferty, McCallum and Pereira, 2001) gives a tag sequence y for the input x the probability

    p(y | x) = exp s(y) / Z(x),   s(y) = emissions along y + transitions along y,   Z(x) = Σ_y exp s(y)

so the log-likelihood is the path score minus the log-partition. The emissions come from a network (a BiLSTM,
BERT, …); the transitions are the CRF's own parameters and are what lets neighbouring tags influence each
other. The dynamic programming lives in `seqlab.chain`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqlab import chain
from seqlab.errors import ShapeError

__all__ = ["CRF", "TransitionConstraints", "bioes_constraints"]

REDUCTIONS = ("none", "sum", "mean", "token_mean")


class TransitionConstraints(NamedTuple):
    """Which tags may start a sequence, end it, and follow each other; True is allowed.

    Attributes:
        start: (K,), bool.
        end: (K,), bool.
        pairs: (K, K), bool, from row to column.
    """

    start: Tensor
    end: Tensor
    pairs: Tensor


def bioes_constraints(labels: Sequence[str]) -> TransitionConstraints:
    """Derive the allowed moves from labels of the BIO, BIOES or BMES family.

    A label is `O`, or a position and a type: `B-NOUN`, `I-NOUN`, `E-NOUN`, `S-NOUN`; M means I. The type may
    be missing (`B`, `M`, `E`, `S` of word segmentation). If no label is an E or an S, the labels are BIO: a
    segment may then end anywhere. Otherwise B and I must be followed by I or E of their own type.

    Raises:
        ShapeError: there is no label, one occurs twice, or one is of another form.
    """
    if not labels or len(set(labels)) != len(labels):
        raise ShapeError(f"labels must be at least one and all different, got {list(labels)}")
    parts = [_position_and_type(label) for label in labels]
    closes = any(position in "ES" for position, _ in parts)
    start = [position in "BSO" for position, _ in parts]
    end = [not closes or position in "ESO" for position, _ in parts]
    pairs = [[_may_follow(before, after, closes) for after in parts] for before in parts]
    return TransitionConstraints(torch.tensor(start), torch.tensor(end), torch.tensor(pairs))


def _position_and_type(label: str) -> tuple[str, str]:
    """Split `B-NOUN` into ("B", "NOUN"); M becomes I."""
    position, _, kind = label.partition("-")
    if position not in ("B", "I", "M", "E", "S", "O") or (position == "O" and label != "O"):
        raise ShapeError(f"labels must look like O, B-X, I-X, M-X, E-X or S-X, got {label!r}")
    return ("I" if position == "M" else position), kind


def _may_follow(before: tuple[str, str], after: tuple[str, str], closes: bool) -> bool:
    """Tell whether `after` may stand right after `before`; `closes`: segments end in an explicit E or S."""
    inside = after[0] in "IE"  # goes on with a segment that must be open and of the same type
    if before[0] in "BI":
        return before[1] == after[1] if inside else not closes
    return not inside


class CRF(nn.Module):
    """Conditional random field over a chain of tags.

    Shapes are written for `batch_first=False`; with `batch_first=True` the first two dimensions of emissions,
    tags, masks and marginals are swapped.

    Args:
        num_tags: K, at least 1.
        batch_first: whether the batch comes before the time steps.
        constraints: which tags may start, end and follow each other. Forbidden moves have probability 0: they
            are never decoded, and tags that contain one are refused. Not part of the state dict.

    Attributes:
        start_transitions: (K,), score of starting in a tag.
        end_transitions: (K,), score of ending in a tag.
        transitions: (K, K), score of moving from the row's tag to the column's.

    Raises:
        ShapeError: `num_tags` is not positive or the constraints have the wrong shape.
    """

    def __init__(
        self, num_tags: int, batch_first: bool = False, constraints: TransitionConstraints | None = None
    ) -> None:
        if num_tags <= 0:
            raise ShapeError(f"invalid number of tags: {num_tags}")
        super().__init__()
        self.num_tags = num_tags
        self.batch_first = batch_first
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self._forbidden_start: Tensor | None
        self._forbidden_end: Tensor | None
        self._forbidden_pairs: Tensor | None
        for name in ("start", "end", "pairs"):
            allowed = None if constraints is None else getattr(constraints, name).bool()
            shape = (num_tags, num_tags) if name == "pairs" else (num_tags,)
            if allowed is not None and tuple(allowed.shape) != shape:
                raise ShapeError(f"constraints.{name} must have shape {shape}, got {tuple(allowed.shape)}")
            forbidden = None if allowed is None else ~allowed
            self.register_buffer(f"_forbidden_{name}", forbidden, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every transition score uniformly from −0.1 … 0.1."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_tags={self.num_tags})"

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum") -> Tensor:
        """Return the log-likelihood log p(tags | emissions): path score minus log-partition.

        Args:
            emissions: (T, B, K), floating.
            tags: (T, B), integers; the padding may hold anything.
            mask: (T, B), bool or uint8, True at the first n ≥ 1 steps of a row of n tokens; None: all.
            reduction: "none"; "sum" or "mean" over the batch; "token_mean", the sum over the number of tokens.

        Returns:
            (B,) for "none", otherwise a scalar.

        Raises:
            ShapeError: a shape, a mask, a tag, a score or the reduction's name is wrong.
        """
        lengths = self._validate(emissions, tags, mask)
        if reduction not in REDUCTIONS:
            raise ShapeError(f"invalid reduction: {reduction}")
        log_likelihood = self._score(emissions, tags, lengths) - self._log_partition(emissions, lengths)
        if reduction == "none":
            return log_likelihood
        if reduction == "sum":
            return log_likelihood.sum()
        if reduction == "mean":
            return log_likelihood.mean()
        return log_likelihood.sum() / lengths.sum()

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) path scores s(tags): the numerator's logarithm. Arguments as in `forward`."""
        return self._score(emissions, tags, self._validate(emissions, tags, mask))

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) log Z: the denominator's logarithm. Arguments as in `forward`."""
        return self._log_partition(emissions, self._validate(emissions, None, mask))

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return p(y_t = j | x), (T, B, K), 0 in the padding, without gradient. Arguments as in `forward`."""
        lengths = self._validate(emissions, None, mask)
        found = chain.marginals(self._time_first(emissions), *self._transition_scores(), lengths)
        return self._time_first(found)

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """Return each row's best tag sequence, as long as the row. Arguments as in `forward`.

        Raises:
            ShapeError: as in `forward`, or the scores forbid every path of a row.
        """
        lengths = self._validate(emissions, None, mask)
        best = chain.viterbi(self._time_first(emissions), *self._transition_scores(), lengths)
        impossible = (best.score == float("-inf")).nonzero()
        if impossible.numel():
            row = int(impossible[0])
            raise ShapeError(f"no path is allowed for row {row} of length {int(lengths[row])}")
        rows: list[list[int]] = best.tags.T.tolist()
        return [tags[:length] for tags, length in zip(rows, lengths.tolist(), strict=True)]

    def _score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        score = chain.path_score(
            self._time_first(emissions), self._time_first(tags), *self._transition_scores(), lengths
        )
        impossible = (score == float("-inf")).nonzero()
        if self._forbidden_pairs is not None and impossible.numel():
            raise ShapeError(f"tags of row {int(impossible[0])} hold a move that the constraints forbid")
        return score

    def _log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return chain.log_partition(self._time_first(emissions), *self._transition_scores(), lengths)

    def _transition_scores(self) -> tuple[Tensor, Tensor, Tensor]:
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

    def _validate(self, emissions: Tensor, tags: Tensor | None, mask: Tensor | None) -> Tensor:
        """Check the arguments' shapes and return the (B,) lengths."""
        if emissions.dim() != 3:
            raise ShapeError(f"emissions must have dimension of 3, got {emissions.dim()}")
        if emissions.size(2) != self.num_tags:
            raise ShapeError(f"expected last dimension of emissions is {self.num_tags}, got {emissions.size(2)}")
        steps = tuple(emissions.shape[:2])
        for name, values in (("tags", tags), ("mask", mask)):
            if values is not None and tuple(values.shape) != steps:
                raise ShapeError(
                    f"the first two dimensions of emissions and {name} must match, "
                    f"got {steps} and {tuple(values.shape)}"
                )
        if mask is None:
            mask = torch.ones(steps, dtype=torch.bool, device=emissions.device)
        mask = self._time_first(mask)  # (T, B)
        if mask.size(0) == 0 or not bool(mask[0].all()):
            raise ShapeError("mask of the first timestep must all be on")
        return chain.lengths_from_mask(mask)
