"""Sentences and tags as a person has them: checked, described, counted and cut up again."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from seqlab.errors import DataError
from seqlab.tagging.scores import Ints

__all__ = ["Extractor", "Sentences", "Tags", "accuracy", "are_tokens", "check_pairs", "described", "split"]

Extractor = Callable[[Sequence[str]], Sequence[Any]]
Sentences = Sequence[Sequence[Any]]
Tags = Sequence[Sequence[str]]


def check_pairs(sentences: Sentences, tags: Tags, name: str, tags_name: str) -> None:
    """Check that there is one tag for each token.

    Raises:
        DataError: by these names, which sentence has too many or too few; or one sentence came, not a list of them.
    """
    for what, rows in ((name, sentences), (tags_name, tags)):
        if not hasattr(rows, "__len__"):
            raise DataError(f"{what} must be a list with a list for each sentence, got {type(rows).__name__}")
    if _is_one(sentences) and _is_one(tags):
        raise DataError(
            f"expected a list of sentences and a list of tags for each of them, got {name} that begin with the text "
            f"{sentences[0]!r} and {tags_name} that begin with {tags[0]!r}: put each in a list, if it is one sentence"
        )
    if len(sentences) != len(tags):
        raise DataError(f"{tags_name} must be as many lists as {name} ({len(sentences)}), got {len(tags)}")
    for number, (sentence, row) in enumerate(zip(sentences, tags, strict=True)):
        for what, items in ((name, sentence), (tags_name, row)):
            if not hasattr(items, "__len__"):
                raise DataError(f"{what} {number} must be a list, got {type(items).__name__}")
        if len(sentence) != len(row):
            raise DataError(f"{name} {number}: expected {len(sentence)} tags, one for each token, got {len(row)}")


def _is_one(rows: Sequence[Any]) -> bool:
    return len(rows) > 0 and all(isinstance(row, str) for row in rows)


def are_tokens(sentences: Sentences) -> bool:
    """Tell whether sentences hold tokens (strings, or nothing at all), not descriptions of tokens.

    Raises:
        DataError: they hold both, or are no list of sentences.
    """
    if isinstance(sentences, str) or not hasattr(sentences, "__len__"):
        raise DataError(f"expected a list of sentences, got {type(sentences).__name__}")
    try:
        kinds = {issubclass(kind, str) for kind in set(map(type, itertools.chain.from_iterable(sentences)))}
    except TypeError as error:
        raise DataError(f"expected a list of sentences, each a list of tokens: {error}") from error
    if len(kinds) == 2:
        raise DataError("sentences must hold tokens (strings) or descriptions of tokens, got both")
    return kinds != {False}


def described(sentences: Sentences, features: Extractor) -> Sentences:
    """Return descriptions of all tokens: `sentences` themselves, or what `features` says of their tokens.

    Raises:
        DataError: as in `are_tokens`, or `features` does not return one description for each token.
    """
    if not are_tokens(sentences):
        return sentences
    found = [features(sentence) if len(sentence) else [] for sentence in sentences]
    for number, (sentence, row) in enumerate(zip(sentences, found, strict=True)):
        if len(sentence) != len(row):
            raise DataError(f"sentence {number} has {len(sentence)} tokens, but features describes {len(row)}")
    return found


def accuracy(gold: Tags, found: Tags) -> float:
    """Return the share of tokens whose tag was found, 0 if there are none."""
    pairs = [right == tag for row, tags in zip(gold, found, strict=True) for right, tag in zip(row, tags, strict=True)]
    return sum(pairs) / len(pairs) if pairs else 0.0


def split(items: list[Any], sizes: Ints) -> list[list[Any]]:
    """Cut one item for each token into a list for each sentence."""
    rest: Iterator[Any] = iter(items)
    return [list(itertools.islice(rest, size)) for size in sizes.tolist()]
