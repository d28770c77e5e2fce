"""The linear-chain CRF: training, decoding, and everything else its distribution over tag sequences answers."""

from typing import NamedTuple, overload

import torch
from torch import Tensor, nn

from seqlab import chain
from seqlab.chain.inputs import check_numbers
from seqlab.crf.base import TransitionModule, check_reduction, reduced, refuse_pathless
from seqlab.crf.checks import check_tensor, whole
from seqlab.crf.constraints import TransitionConstraints
from seqlab.crf.decoder import ViterbiDecoder
from seqlab.errors import ShapeError

__all__ = ["CRF", "UNKNOWN", "ScoredPath"]

UNKNOWN = -1  # stands in partially known tags for "any tag"


class ScoredPath(NamedTuple):
    """A tag sequence and its score s(tags); log p(tags | emissions) is the score less the log-partition."""

    tags: list[int]
    score: float


class CRF(TransitionModule):
    """Conditional random field over a chain of tags.

    Shapes are written for `batch_first=False`; with `batch_first=True` the first two dimensions of emissions,
    tags, masks, marginals and samples are swapped.

    Args:
        num_tags: K, at least 1.
        batch_first: whether the batch comes before the time steps.
        constraints: which tags may start, end and follow each other. Forbidden moves have probability 0: they
            are never decoded, and tags that contain one are refused. Not part of the state dict.
        allow_empty: take a row whose mask is all False for an empty sequence, with log-likelihood 0 and no tags,
            instead of refusing it.

    Attributes:
        start_transitions: (K,), score of starting in a tag.
        end_transitions: (K,), score of ending in a tag.
        transitions: (K, K), score of moving from the row's tag to the column's.

    Raises:
        ShapeError: `num_tags` is no positive integer or the constraints have the wrong shape.
    """

    def __init__(
        self,
        num_tags: int,
        batch_first: bool = False,
        constraints: TransitionConstraints | None = None,
        *,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(num_tags, batch_first, constraints, allow_empty)
        self.reset_parameters()

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
            ShapeError: a shape, a mask, a tag, a score or the reduction's name is wrong, the batch is empty, the
                scores forbid every path of a row, or the constraints forbid its tags.
        """
        lengths = self._validate(emissions, mask, tags=tags)
        check_reduction(reduction)
        parts = (self._time_first(emissions), self._time_first(tags), *self.transition_scores())
        log_likelihood = chain.log_likelihood(*parts, lengths)
        if not torch.compiler.is_compiling() and not bool(log_likelihood.detach().isfinite().all()):
            refuse_pathless(self._log_partition(emissions.detach(), lengths), lengths)
            self._refuse_forbidden(tags, self._path_score(emissions.detach(), tags, lengths), lengths)
        return reduced(log_likelihood, lengths, reduction)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) path scores s(tags): the numerator's logarithm. Arguments as in `forward`."""
        lengths = self._validate(emissions, mask, tags=tags)
        check_numbers(self._time_first(emissions), lengths)
        score = self._path_score(emissions, tags, lengths)
        self._refuse_forbidden(tags, score, lengths)
        return score

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) log Z: the denominator's logarithm, −inf where no path is allowed.

        Arguments as in `forward`.
        """
        return self._log_partition(emissions, self._validate(emissions, mask))

    def partial_log_likelihood(
        self, emissions: Tensor, allowed: Tensor, mask: Tensor | None = None, reduction: str = "sum"
    ) -> Tensor:
        """Return log p(the tags are among the allowed ones | emissions), for incomplete or ambiguous annotation.

        The probabilities of all tag sequences that agree with the annotation add up (Tsuboi et al., "Training
        Conditional Random Fields Using Incomplete Annotations", 2008, section 4):

            log Σ_{y allowed} p(y | x) = log Z(x, allowed) − log Z(x)

        Args:
            emissions: (T, B, K), floating.
            allowed: (T, B, K), bool, the tags that a step may have; or (T, B), integers, the tag of a step or
                `UNKNOWN` (−1) where any will do. The padding may hold anything.
            mask: as in `forward`.
            reduction: as in `forward`.

        Raises:
            ShapeError: as in `forward`; or no tag is allowed at a step, or none of the allowed sequences is
                possible.
        """
        check_tensor("allowed", allowed)
        if allowed.dim() == 2:
            lengths = self._validate(emissions, mask, allowed=allowed)
        else:
            lengths = self._validate(emissions, mask)
            if allowed.shape != emissions.shape:
                raise ShapeError(f"allowed must have shape {tuple(emissions.shape)}, got {tuple(allowed.shape)}")
        check_reduction(reduction)
        allowed = allowed_tags(self._time_first(allowed), lengths, self.num_tags)
        chosen = self._time_first(emissions).masked_fill(~allowed, float("-inf"))
        shares = chain.log_share(self._time_first(emissions), chosen, *self.transition_scores(), lengths)
        refuse_pathless(shares, lengths)
        return reduced(shares, lengths, reduction)

    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return p(y_t = j | x), (T, B, K), 0 in the padding, without gradient. Arguments as in `forward`."""
        lengths = self._validate(emissions, mask)
        found = chain.marginals(self._time_first(emissions), *self.transition_scores(), lengths)
        return self._time_first(found)

    @overload
    def decode(self, emissions: Tensor, mask: Tensor | None = None, *, nbest: None = None) -> list[list[int]]: ...
    @overload
    def decode(self, emissions: Tensor, mask: Tensor | None = None, *, nbest: int) -> list[list[ScoredPath]]: ...
    def decode(
        self, emissions: Tensor, mask: Tensor | None = None, *, nbest: int | None = None
    ) -> list[list[int]] | list[list[ScoredPath]]:
        """Return each row's best tag sequence, as long as the row; with `nbest` its best few with their scores.

        Args:
            emissions: (T, B, K), floating.
            mask: as in `forward`.
            nbest: None for the best sequence alone; k ≥ 1 for the k best, best first, fewer where a row has fewer.

        Returns:
            A list for each row: of tags, or of `ScoredPath`.

        Raises:
            ShapeError: as in `forward`, or the scores forbid every path of a row.
        """
        if nbest is not None:
            return self._decode_nbest(emissions, mask, nbest)
        best, lengths = self._viterbi(emissions, mask)
        rows: list[list[int]] = best.tags.T.cpu().numpy().tolist()  # in half the time of torch's
        if mask is None:
            return rows
        return [tags[:length] for tags, length in zip(rows, lengths.tolist(), strict=True)]

    def best_paths(self, emissions: Tensor, mask: Tensor | None = None) -> chain.BestPath:
        """Return the best paths as tensors: tags (T, B), −1 in the padding, and their scores (B,).

        Arguments and errors as in `decode`.
        """
        best, _ = self._viterbi(emissions, mask)
        return chain.BestPath(self._time_first(best.tags), best.score)

    def sample(
        self,
        emissions: Tensor,
        mask: Tensor | None = None,
        num_samples: int = 1,
        *,
        seed: int | torch.Generator | None = None,
    ) -> Tensor:
        """Draw tag sequences from p(tags | emissions).

        Args:
            emissions: (T, B, K), floating.
            mask: as in `forward`.
            num_samples: how many sequences for each row.
            seed: a number, which always gives the same sequences; a generator to draw that number from; or None
                for torch's global generator.

        Returns:
            (num_samples, T, B), int64, −1 in the padding.

        Raises:
            ShapeError: as in `decode`, or `num_samples` is negative.
        """
        lengths = self._validate(emissions, mask)
        parts = (self._time_first(emissions), *self.transition_scores())
        drawn = chain.sample(*parts, lengths, num_samples=num_samples, seed=seed)
        return drawn.transpose(1, 2) if self.batch_first else drawn

    def entropy(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the (B,) entropies −Σ_y p(y | x) log p(y | x) in nats. Arguments as in `forward`."""
        lengths = self._validate(emissions, mask)
        return chain.entropy(self._time_first(emissions), *self.transition_scores(), lengths)

    def kl(
        self,
        emissions: Tensor,
        other_emissions: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        other: "CRF | None" = None,
    ) -> Tensor:
        """Return the (B,) divergences KL(p ‖ q) = Σ_y p(y) log (p(y) / q(y)) in nats.

        Args:
            emissions: (T, B, K), floating, of p, whose transitions are this CRF's.
            other_emissions: (T, B, K), floating, of q; None: the same.
            mask: as in `forward`, for both.
            other: the CRF that gives q its transitions; None: this one.

        Raises:
            ShapeError: as in `forward`, for either, or `other` has another layout.
        """
        lengths = self._validate(emissions, mask)
        other = self if other is None else other
        if other.batch_first != self.batch_first:
            raise ShapeError(f"other must have batch_first={self.batch_first}, got {other.batch_first}")
        other_emissions = emissions if other_emissions is None else other_emissions
        check_tensor("other_emissions", other_emissions)
        if other_emissions.shape != emissions.shape:
            shapes = tuple(emissions.shape), tuple(other_emissions.shape)
            raise ShapeError(f"other_emissions must have shape {shapes[0]}, got {shapes[1]}")
        p = (self._time_first(emissions), *self.transition_scores())
        q = (self._time_first(other_emissions), *other.transition_scores())
        return chain.kl(p, q, lengths)

    def viterbi_module(self) -> nn.Module:
        """Return a module that decodes with plain tensor operations, for `torch.export` and ONNX.

        It shares this CRF's parameters: see `seqlab.crf.decoder.ViterbiDecoder`.
        """
        return ViterbiDecoder(self)

    def _decode_nbest(self, emissions: Tensor, mask: Tensor | None, nbest: int) -> list[list[ScoredPath]]:
        lengths = self._validate(emissions, mask)
        check_numbers(self._time_first(emissions), lengths)
        nbest = whole("nbest", nbest)
        if nbest < 1:
            raise ShapeError(f"nbest must be at least 1, got {nbest}")
        found = chain.k_best(self._time_first(emissions), *self.transition_scores(), lengths, k=nbest)
        refuse_pathless(found.score[0], lengths)
        tags, scores = found.tags.permute(2, 0, 1).tolist(), found.score.T.tolist()  # (B, k, T), (B, k)
        return [
            [ScoredPath(tags[row][rank][:length], scores[row][rank]) for rank in range(count)]
            for row, (length, count) in enumerate(zip(lengths.tolist(), found.counts.tolist(), strict=True))
        ]

    def _viterbi(self, emissions: Tensor, mask: Tensor | None) -> tuple[chain.BestPath, Tensor]:
        """Return the best paths, time first, and the (B,) lengths."""
        lengths = self._validate(emissions, mask)
        best = chain.viterbi(self._time_first(emissions), *self.transition_scores(), lengths)
        refuse_pathless(best.score, lengths)
        return best, lengths

    def _path_score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        return chain.path_score(self._time_first(emissions), self._time_first(tags), *self.transition_scores(), lengths)

    def _log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        return chain.log_partition(self._time_first(emissions), *self.transition_scores(), lengths)

    def _refuse_forbidden(self, tags: Tensor, score: Tensor, lengths: Tensor) -> None:
        """Refuse tags with a forbidden move; a score of −inf from the emissions alone is as it should be."""
        if self._forbidden_pairs is None or torch.compiler.is_compiling():
            return
        if not bool((score.detach() == float("-inf")).any()):
            return
        tags = self._time_first(tags)
        silent = score.new_zeros((*tags.shape, self.num_tags))
        pairs, start, end = (part.detach() for part in self.transition_scores())
        moves = chain.path_score(silent, tags, pairs, start, end, lengths)
        impossible = (moves == float("-inf")).nonzero()
        if impossible.numel():
            raise ShapeError(f"tags of row {int(impossible[0])} hold a move that the constraints forbid")


def allowed_tags(allowed: Tensor, lengths: Tensor, num_tags: int) -> Tensor:
    """Return which tags each step may have, (T, B, K) bool, all of them in the padding.

    Args:
        allowed: (T, B, K), bool, or (T, B), integers in −1 … K − 1.
        lengths: (B,), int64.
        num_tags: K.

    Raises:
        ShapeError: a tag is out of range, or a step has no allowed tag.
    """
    padding = ~chain.mask_from_lengths(lengths, allowed.size(0))  # (T, B)
    if allowed.dim() == 2:
        if allowed.is_floating_point() or allowed.dtype == torch.bool:
            raise ShapeError(f"allowed must be (T, B, K) bool or (T, B) integers, got (T, B) of {allowed.dtype}")
        known = allowed.long().masked_fill(padding, UNKNOWN)
        if not torch.compiler.is_compiling() and known.numel():
            low, high = int(known.min()), int(known.max())
            if not UNKNOWN <= low <= high < num_tags:
                wrong = low if low < UNKNOWN else high
                raise ShapeError(f"allowed must lie in {UNKNOWN} … {num_tags - 1}, got {wrong}")
        choices = torch.arange(num_tags, device=known.device)
        return (known.unsqueeze(2) == choices) | (known.unsqueeze(2) == UNKNOWN)
    allowed = allowed.bool() | padding.unsqueeze(2)
    nothing = ~allowed.any(dim=2)  # (T, B)
    if not torch.compiler.is_compiling() and bool(nothing.any()):
        step, row = nothing.nonzero()[0].tolist()
        raise ShapeError(f"allowed must leave at least one tag, none at step {step} of row {row}")
    return allowed
