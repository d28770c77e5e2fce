"""What every kind of model gives the tagger: the scores of a chain for sentences behind one another."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seqlab.chain import packed
from seqlab.crf import label_constraints
from seqlab.errors import DataError

__all__ = ["AllowedMoves", "ChainScores", "TaggingModel", "sizes_of"]

Floats = NDArray[Any]
Ints = NDArray[np.int64]


class AllowedMoves(NamedTuple):
    """0 where a sentence may start, end, or move from row to column; −inf elsewhere.

    Attributes:
        start: (K,), float32.
        end: (K,), float32.
        pairs: (K, K), float32.
    """

    start: Floats
    end: Floats
    pairs: Floats

    @classmethod
    def of(cls, tags: Sequence[str], constrained: bool) -> "AllowedMoves":
        """Allow everything, or, `constrained`, what the label scheme of the K tags (BIO, BIOES, BMES) can produce.

        Raises:
            ShapeError: a tag is not of such a scheme.
        """
        if not constrained:
            K = len(tags)
            return cls(*(np.zeros(shape, np.float32) for shape in ((K,), (K,), (K, K))))
        allowed = label_constraints(tags)
        return cls(*(np.where(part.numpy(), 0, -np.inf).astype(np.float32) for part in allowed))

    def refuse(self, gold: Ints, sizes: Ints, tags: Sequence[str]) -> None:
        """Refuse training tags (N,) that make a forbidden move.

        Raises:
            DataError: naming the sentence and the move.
        """
        ends = np.cumsum(sizes)
        for number, (size, end) in enumerate(zip(sizes.tolist(), ends.tolist(), strict=True)):
            path = gold[end - size : end]
            if size and (
                self.start[path[0]] < 0 or self.end[path[-1]] < 0 or (self.pairs[path[:-1], path[1:]] < 0).any()
            ):
                named = " ".join(tags[tag] for tag in path)
                raise DataError(f"sentence {number}: the constraints forbid its tags: {named}")


class ChainScores(NamedTuple):
    """The scores of S sentences behind one another, N tokens in all; −inf forbids.

    Attributes:
        emissions: (N, K).
        transitions: (K, K).
        start: (K,).
        end: (K,).
    """

    emissions: Floats
    transitions: Floats
    start: Floats
    end: Floats

    def best(self, sizes: Ints) -> Ints:
        """Return the best tags (N,).

        Raises:
            DataError: every path of a sentence is forbidden.
        """
        path = packed.viterbi(*self, sizes)
        _check_possible(path.score)
        return path.states

    def marginals(self, sizes: Ints) -> Floats:
        """Return P(tag | sentence), (N, K). Errors as in `best`."""
        found = packed.forward_backward(*self, sizes)
        _check_possible(found.log_partition)
        return found.states


class TaggingModel(Protocol):
    """A trained model of K tags, between names and numbers."""

    def scores(self, sentences: Sequence[Sequence[Any]]) -> ChainScores:
        """Score sentences: of described tokens, or, for an encoder, of tokens."""

    def state(self) -> tuple[dict[str, Any], Mapping[str, Floats]]:
        """Return what `save` writes: plain JSON values, and named arrays."""


def sizes_of(sentences: Sequence[Sequence[Any]]) -> Ints:
    """Return the sentences' lengths (S,)."""
    return np.fromiter(map(len, sentences), np.int64, len(sentences))


def _check_possible(scores: Floats) -> None:
    impossible = np.flatnonzero(np.isneginf(scores))
    if impossible.size:
        raise DataError(f"sentence {impossible[0]}: the constraints allow no sequence of tags of its length")
