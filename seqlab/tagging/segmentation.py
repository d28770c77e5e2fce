"""Word segmentation as tagging: B begins a word, M goes on, E ends it, S is a word of one character.

Source: Xue, "Chinese Word Segmentation as Character Tagging" (2003).
"""

from collections.abc import Iterable, Sequence

from seqlab.errors import ShapeError
from seqlab.metrics import spans

__all__ = ["bmes_tags", "join_words"]


def bmes_tags(words: Iterable[str]) -> list[str]:
    """Return a tag for each character of the words, behind one another.

    >>> bmes_tags(["我", "喜欢", "图书馆"])
    ['S', 'B', 'E', 'B', 'M', 'E']
    """
    return [
        tag for word in words for tag in ("S" if len(word) == 1 else "B" + "M" * (len(word) - 2) + "E")[: len(word)]
    ]


def join_words(characters: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Return the words that the tags mark; an ill-formed sequence is read as `seqlab.metrics.spans` reads it.

    >>> join_words("我喜欢图书馆", ["S", "B", "E", "B", "M", "E"])
    ['我', '喜欢', '图书馆']

    Raises:
        ShapeError: there are not as many tags as characters, or a tag has an unknown position.
    """
    if len(characters) != len(tags):
        raise ShapeError(f"expected as many tags as characters ({len(characters)}), got {len(tags)}")
    return ["".join(characters[start:end]) for start, end, _ in spans(tags)]
