"""Entity-level precision, recall and F1, and tag accuracy, by the CoNLL convention or strictly by a scheme.

An entity is a maximal run of characters (or words) that its tags mark as one; it counts as found only if start,
end and label are all right. Tags are `O` or a prefix, a hyphen and a label; the prefixes of BIO, BIOES and BMES
mix freely (M reads as I, L as E, U and W as S). A prefix alone, as in segmentation (`B M E S`), has the label "".

Ill-formed sequences are read as the CoNLL-2000 script `conlleval` reads them, extended to E and S: a label's
change always ends an entity, and an I or E with nothing before it begins one. With a `scheme` they are read
strictly: only a run that is exactly what the scheme prescribes is an entity (in BIOES: B I … I E of one label, or
S), everything else is none. In IOB1 a B begins an entity wherever it stands.

Source: Tjong Kim Sang and Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking" (2000).
"""

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seqlab import schemes
from seqlab.errors import ShapeError

__all__ = ["Scores", "Span", "bioes_tags", "evaluate", "spans"]

_SINGLE, _BEGIN, _INSIDE, _END, _OUTSIDE = "S", "B", "I", "E", "O"
_PREFIXES = schemes.LETTERS


class Span(NamedTuple):
    """An entity: positions `start` to `end` (not included) and its label."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Scores:
    """Shares from 0 to 1, with 0 for 0/0.

    precision = correct / predicted, recall = correct / gold, f1 = 2 correct / (predicted + gold), all over
    entities; accuracy is the share of single tags that are right. `per_label` holds the same by label, with None for
    the accuracy.
    """

    precision: float
    recall: float
    f1: float
    accuracy: float | None
    gold: int
    predicted: int
    correct: int
    per_label: dict[str, "Scores"]


def spans(tags: Sequence[str], scheme: str | None = None) -> list[Span]:
    """The entities of one tagged sequence in order.

    >>> spans(["B-name", "E-name", "O", "S-operator"])
    [Span(start=0, end=2, label='name'), Span(start=3, end=4, label='operator')]
    >>> spans(["I-name", "E-name", "O", "S-operator"], scheme="BIOES")
    [Span(start=3, end=4, label='operator')]

    Args:
        tags: one tag for each position.
        scheme: None for conlleval's reading, or the name of a scheme in `seqlab.schemes` for the strict one.

    Raises:
        ShapeError: a tag with an unknown prefix or with one that the scheme does not have, or an unknown scheme.
    """
    return _lenient_spans(tags) if scheme is None else _strict_spans(tags, schemes.scheme_name(scheme))


def _lenient_spans(tags: Sequence[str]) -> list[Span]:
    found, start = [], None
    previous, previous_label = _OUTSIDE, ""
    for position, tag in enumerate(tags):
        prefix, label = _split(tag)
        changed = label != previous_label or previous in (_OUTSIDE, _END, _SINGLE) or prefix in (_BEGIN, _SINGLE)
        if start is not None and (prefix == _OUTSIDE or changed):
            found.append(Span(start, position, previous_label))
            start = None
        if prefix != _OUTSIDE and changed:
            start = position
        previous, previous_label = prefix, label
    if start is not None:
        found.append(Span(start, len(tags), previous_label))
    return found


def _strict_spans(tags: Sequence[str], scheme: str) -> list[Span]:
    parts = [schemes.parse(tag, scheme) for tag in tags]
    found, start = [], 0
    while start < len(parts):
        end = start + 1
        while end < len(parts) and schemes.goes_on(parts[end - 1], parts[end]):
            end += 1
        first, last = parts[start], parts[end - 1]
        if first.position != _OUTSIDE and True in first.begins and True in last.ends:
            found.append(Span(start, end, parts[start].kind))
        start = end
    return found


def bioes_tags(entities: Iterable[Span], length: int) -> list[str]:
    """The BIOES tags of a sequence of `length` positions with these entities, which must not overlap.

    >>> bioes_tags([Span(0, 2, "name"), Span(3, 4, "operator")], 4)
    ['B-name', 'E-name', 'O', 'S-operator']

    Raises:
        ShapeError: an entity is empty, does not lie in the sequence, or overlaps another; or it is no
            (start, end, label) of two integers and a string.
    """
    if not _is_whole(length) or length < 0:
        raise ShapeError(f"length must be an integer ≥ 0, got {length!r}")
    tags = [_OUTSIDE] * length
    for entity in entities:
        start, end, label = _checked_span(entity, length)
        if any(tag != _OUTSIDE for tag in tags[start:end]):
            raise ShapeError(f"entities must not overlap, got {entity!r} over another")
        if end - start == 1:
            tags[start] = f"{_SINGLE}-{label}"
            continue
        tags[start:end] = [f"{_INSIDE}-{label}"] * (end - start)
        tags[start], tags[end - 1] = f"{_BEGIN}-{label}", f"{_END}-{label}"
    return tags


def _checked_span(entity: Span, length: int) -> Span:
    if not isinstance(entity, tuple | list) or len(entity) != 3:
        raise ShapeError(f"an entity must be (start, end, label), got {entity!r}")
    start, end, label = entity
    if not (_is_whole(start) and _is_whole(end) and isinstance(label, str)):
        raise ShapeError(f"an entity must be (integer, integer, string), got {entity!r}")
    if not 0 <= start < end <= length:
        raise ShapeError(f"an entity must have 0 ≤ start < end ≤ {length}, got {entity!r}")
    return Span(start, end, label)


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def evaluate(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str | None = None) -> Scores:
    """Compare predicted with gold tags, sequence by sequence; the counts are summed over all (micro average).

    Args:
        gold: the right tags of each sequence.
        predicted: as many tags for as many sequences.
        scheme: how both are read, see `spans`.

    Raises:
        ShapeError: the two differ in the number or the lengths of the sequences, or as in `spans`.
    """
    if len(gold) != len(predicted):
        raise ShapeError(f"expected as many predicted as gold sequences ({len(gold)}), got {len(predicted)}")
    counts: dict[str, list[int]] = {}  # label: [gold, predicted, correct]
    tokens = right = 0
    for number, (true_tags, tags) in enumerate(zip(gold, predicted, strict=True)):
        if len(true_tags) != len(tags):
            raise ShapeError(f"sequence {number}: expected {len(true_tags)} predicted tags, got {len(tags)}")
        tokens += len(tags)
        right += sum(true == tag for true, tag in zip(true_tags, tags, strict=True))
        true_spans, found_spans = set(spans(true_tags, scheme)), set(spans(tags, scheme))
        for column, group in enumerate((true_spans, found_spans, true_spans & found_spans)):
            for span in group:
                counts.setdefault(span.label, [0, 0, 0])[column] += 1
    per_label = {label: _scores(*counts[label], accuracy=None, per_label={}) for label in sorted(counts)}
    totals = [sum(count[column] for count in counts.values()) for column in range(3)]
    return _scores(*totals, accuracy=_share(right, tokens), per_label=per_label)


def _scores(gold: int, predicted: int, correct: int, *, accuracy: float | None, per_label: dict[str, Scores]) -> Scores:
    return Scores(
        precision=_share(correct, predicted),
        recall=_share(correct, gold),
        f1=_share(2 * correct, predicted + gold),
        accuracy=accuracy,
        gold=gold,
        predicted=predicted,
        correct=correct,
        per_label=per_label,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _split(tag: str) -> tuple[str, str]:
    """Prefix (one of B I E S O) and label of a tag."""
    if tag == _OUTSIDE:
        return _OUTSIDE, ""
    prefix, _, label = tag.partition("-")
    if prefix not in _PREFIXES:
        raise ShapeError(f"expected O or a tag that begins with one of B I M E L S U W, got {tag!r}")
    return _PREFIXES[prefix], label
