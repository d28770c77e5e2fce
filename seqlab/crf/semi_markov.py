"""The semi-Markov CRF: it scores, sums over and decodes whole segments (Sarawagi and Cohen 2004)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqlab import chain
from seqlab.chain.inputs import check_tags
from seqlab.crf import segments as engine
from seqlab.crf.base import TransitionModule, check_reduction, reduced, refuse_pathless
from seqlab.crf.checks import check_tensor, positive, whole
from seqlab.crf.constraints import TransitionConstraints
from seqlab.errors import ShapeError

__all__ = ["Segment", "SegmentTags", "SemiMarkovCRF"]


class Segment(NamedTuple):
    """Steps `start` to `end` (not included) with one label."""

    start: int
    end: int
    label: int


class SegmentTags(NamedTuple):
    """Segmentations as tensors.

    Attributes:
        tags: (T, B), integers, the label of each step's segment; the padding may hold anything.
        begins: (T, B), bool, where a segment begins.
    """

    tags: Tensor
    begins: Tensor


Segmentations = Sequence[Sequence[tuple[int, int, int]]] | SegmentTags


class SemiMarkovCRF(TransitionModule):
    """Conditional random field over labelled segments of at most `max_length` steps.

    A segment's score is the sum of its steps' emissions for its label plus a score of its length; neighbouring
    segments are joined by a transition score. `seqlab.crf.segments` has the equations. Shapes are written for
    `batch_first=False`; with `batch_first=True` the first two dimensions of all tensors are swapped. A text's
    outside (O) is a label like any other, usually in segments of length 1.

    Args:
        num_tags: K, at least 1.
        max_length: L, at least 1.
        batch_first: whether the batch comes before the time steps.
        constraints: which labels may start, end and follow each other.
        allow_empty: take a row whose mask is all False for an empty sequence instead of refusing it.

    Attributes:
        start_transitions: (K,), score of a first segment's label.
        end_transitions: (K,), score of a last segment's label.
        transitions: (K, K), score of a segment of the row's label right before one of the column's.
        durations: (K, L), score of a label's segment of length 1 … L.

    Raises:
        ShapeError: `num_tags` or `max_length` is no positive integer or the constraints have the wrong shape.
    """

    def __init__(
        self,
        num_tags: int,
        max_length: int,
        batch_first: bool = False,
        constraints: TransitionConstraints | None = None,
        *,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(num_tags, batch_first, constraints, allow_empty)
        self.max_length = positive("max_length", max_length, "maximum length")
        self.durations = nn.Parameter(torch.empty(self.num_tags, self.max_length))
        self.reset_parameters()

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_tags={self.num_tags}, max_length={self.max_length})"

    def forward(
        self, emissions: Tensor, segments: Segmentations, mask: Tensor | None = None, reduction: str = "sum"
    ) -> Tensor:
        """Return the log-likelihood log p(segments | emissions): segmentation score minus log-partition.

        Args:
            emissions: (T, B, K), floating.
            segments: for each row a list of (start, end, label) that covers it from left to right, `end` not
                included; or `SegmentTags`.
            mask: (T, B), bool or uint8, True at the first n ≥ 1 steps of a row of n tokens; None: all.
            reduction: "none"; "sum" or "mean" over the batch; "token_mean", the sum over the number of tokens.

        Returns:
            (B,) for "none", otherwise a scalar.

        Raises:
            ShapeError: a shape, a mask, a segment, a score or the reduction's name is wrong, the batch is empty, the
                scores forbid every segmentation of a row, or the constraints forbid the one given.
        """
        lengths = self._validate(emissions, mask)
        check_reduction(reduction)
        parts = self._parts(emissions, lengths)
        score, log_z = self._score(parts, segments), engine.log_partition(parts)
        refuse_pathless(log_z, lengths)
        return reduced((score - log_z).to(parts.result_dtype()), lengths, reduction)

    def score(self, emissions: Tensor, segments: Segmentations, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) scores of the segmentations. Arguments as in `forward`."""
        parts = self._parts(emissions, self._validate(emissions, mask))
        return self._score(parts, segments).to(parts.result_dtype())

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) log Z over all segmentations. Arguments as in `forward`."""
        parts = self._parts(emissions, self._validate(emissions, mask))
        return engine.log_partition(parts).to(parts.result_dtype())

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return P(a segment of label y covers step t), (T, B, K), 0 in the padding, without gradient."""
        parts = self._parts(emissions, self._validate(emissions, mask))
        return self._time_first(engine.label_marginals(parts))

    def segment_marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return P(a segment of length d and label y begins at step t), (T, B, L, K), index d − 1, no gradient."""
        parts = self._parts(emissions, self._validate(emissions, mask))
        return self._time_first(engine.segment_marginals(parts))

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[Segment]]:
        """Return each row's best segmentation. Arguments as in `forward`.

        Raises:
            ShapeError: as in `forward`, or the scores forbid every segmentation of a row.
        """
        lengths = self._validate(emissions, mask)
        best = engine.best_segments(self._parts(emissions, lengths))
        refuse_pathless(best.score, lengths)
        return [
            _segments_of(tags[:n], begins[:n])
            for tags, begins, n in zip(best.tags.T.tolist(), best.begins.T.tolist(), lengths.tolist(), strict=True)
        ]

    def best_segments(self, emissions: Tensor, mask: Tensor | None = None) -> engine.BestSegments:
        """Return the best segmentations as tensors, with their scores. Arguments as in `forward`."""
        best = engine.best_segments(self._parts(emissions, self._validate(emissions, mask)))
        return engine.BestSegments(self._time_first(best.tags), self._time_first(best.begins), best.score)

    def _parts(self, emissions: Tensor, lengths: Tensor) -> engine.SegmentChain:
        return engine.SegmentChain(self._time_first(emissions), *self.transition_scores(), self.durations, lengths)

    def _score(self, parts: engine.SegmentChain, segments: Segmentations) -> Tensor:
        T, _, K = parts.emissions.shape
        if isinstance(segments, SegmentTags):
            for name, values in segments._asdict().items():
                check_tensor(name, values)
            given = SegmentTags(self._time_first(segments.tags), self._time_first(segments.begins))
        else:
            given = segment_tags(segments, parts.lengths, T)
        tags = check_tags(given.tags.to(parts.lengths.device), parts.lengths, T, K)
        if given.begins.is_floating_point():
            raise ShapeError(f"begins must be bool or of integers, got {given.begins.dtype}")
        begins = given.begins.to(parts.lengths.device).bool()
        if begins.shape != tags.shape:
            raise ShapeError(f"begins must have shape {tuple(tags.shape)}, got {tuple(begins.shape)}")
        score = segment_score(parts, tags, begins)
        forbidden = (score.detach() == float("-inf")).nonzero()
        if self._forbidden_pairs is not None and forbidden.numel():
            raise ShapeError(f"segments of row {int(forbidden[0])} are impossible: a move or an emission is forbidden")
        return score


def segment_score(parts: engine.SegmentChain, tags: Tensor, begins: Tensor) -> Tensor:
    """Return s(z) of given segmentations, (B,), float64, differentiable any number of times.

    Args:
        parts: the chain.
        tags: (T, B), int64, in 0 … K − 1.
        begins: (T, B), bool; the padding may hold anything.

    Raises:
        ShapeError: a row does not begin with a segment, a label changes inside one, or one is too long.
    """
    if len(parts.emissions) == 0:
        parts = parts.with_a_step()
        tags, begins = (part.new_zeros((1, parts.lengths.numel())) for part in (tags, begins))
    emissions, transitions, start, end, durations, lengths = parts
    (K, L), T = durations.shape, len(emissions)
    mask = chain.mask_from_lengths(lengths, T)  # (T, B)
    ends = torch.cat([begins[1:], begins[:1]]) & mask  # the step before a beginning
    ends = ends.scatter(0, (lengths - 1).clamp(min=0).unsqueeze(0), (lengths > 0).unsqueeze(0)) & mask
    covered = _steps_since(begins)  # (T, B), 1 at a segment's first step
    _check_segments(tags, begins, covered, mask, L)

    emitted = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # (T, B)
    score = emitted.double().masked_fill(~mask, 0.0).sum(dim=0)  # (B,)
    lasted = durations.reshape(-1)[tags * L + covered.clamp(max=L) - 1]  # (T, B)
    score = score + lasted.double().masked_fill(~ends, 0.0).sum(dim=0)
    moved = transitions.reshape(-1)[tags[:-1] * K + tags[1:]]  # (T-1, B)
    score = score + moved.double().masked_fill(~(begins & mask)[1:], 0.0).sum(dim=0)
    last = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)  # (B,)
    edges = start[tags[0]].double() + end[last].double()
    return score + edges.masked_fill(lengths == 0, 0.0)


def segment_tags(segments: Sequence[Sequence[tuple[int, int, int]]], lengths: Tensor, num_steps: int) -> SegmentTags:
    """Turn lists of (start, end, label) into tensors.

    Args:
        segments: for each of B rows its segments from left to right.
        lengths: (B,).
        num_steps: T.

    Raises:
        ShapeError: the number of rows is wrong, something is no (start, end, label) of integers, or a row's segments
            leave a gap, overlap or end elsewhere.
    """
    if not hasattr(segments, "__len__"):
        raise ShapeError(f"segments must be lists of (start, end, label) or SegmentTags, got {segments!r}")
    if len(segments) != lengths.numel():
        raise ShapeError(f"segments must hold {lengths.numel()} rows, got {len(segments)}")
    tags = torch.zeros((lengths.numel(), num_steps), dtype=torch.int64)
    begins = torch.zeros_like(tags, dtype=torch.bool)
    for row, (parts, length) in enumerate(zip(segments, lengths.tolist(), strict=True)):
        reached = 0
        if not hasattr(parts, "__len__"):
            raise ShapeError(f"segments of row {row} must be a list of (start, end, label), got {parts!r}")
        for segment in parts:
            if not hasattr(segment, "__len__") or len(segment) != 3:
                raise ShapeError(f"segments of row {row} must be (start, end, label), got {segment!r}")
            names = (f"{name} of a segment of row {row}" for name in ("start", "end", "label"))
            start, end, label = map(whole, names, segment)
            if start != reached or not start < end <= length:
                raise ShapeError(
                    f"segments of row {row} must cover steps 0 … {length - 1} without gap or overlap, "
                    f"got {(start, end, label)} at step {reached}"
                )
            tags[row, start:end], begins[row, start], reached = label, True, end
        if reached != length:
            raise ShapeError(f"segments of row {row} must end at step {length}, got {reached}")
    return SegmentTags(tags.T, begins.T)


def _steps_since(begins: Tensor) -> Tensor:
    """Return how many steps the segment at each step has lasted, (T, B) int64, 1 where it begins."""
    steps = torch.arange(1, len(begins) + 1, device=begins.device).unsqueeze(1)
    first = (steps * begins).cummax(dim=0).values  # (T, B)
    return steps - first + 1


def _check_segments(tags: Tensor, begins: Tensor, covered: Tensor, mask: Tensor, max_length: int) -> None:
    changes = torch.zeros_like(begins)
    changes[1:] = (tags[1:] != tags[:-1]) & ~begins[1:]
    late = torch.zeros_like(begins)
    late[0] = ~begins[0]
    for wrong, problem in (
        (late, "the first step must begin a segment"),
        (changes, "a label must not change inside a segment"),
        (covered > max_length, f"a segment must not be longer than {max_length} steps"),
    ):
        places = (wrong & mask).nonzero()
        if places.numel():
            step, row = places[0].tolist()
            raise ShapeError(f"segments of row {row} are wrong at step {step}: {problem}")


def _segments_of(tags: list[int], begins: list[bool]) -> list[Segment]:
    starts = [step for step, begun in enumerate(begins) if begun]
    return [Segment(start, end, tags[start]) for start, end in zip(starts, [*starts[1:], len(tags)], strict=False)]
