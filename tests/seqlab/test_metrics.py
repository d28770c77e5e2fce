"""Entity scores: hand cases, the conlleval rules written out a second time, and invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import ShapeError
from seqlab.metrics import Span, bioes_tags, evaluate, spans


def rule_starts(previous, tag, previous_label, label):
    """conlleval's startOfChunk, rule by rule, with M as I and with E and S."""
    if tag in "BS":
        return True
    if previous in "ESO" and tag in "EI":
        return True
    return tag != "O" and previous_label != label


def rule_ends(previous, tag, previous_label, label):
    """conlleval's endOfChunk."""
    if previous in "ES":
        return True
    if previous in "BI" and tag in "BSO":
        return True
    return previous != "O" and previous_label != label


def naive_spans(tags):
    """Every (start, end) is tried against the rules at its borders and inside."""
    pairs = [("O", "")] + [(t[0].replace("M", "I"), t[2:]) for t in tags] + [("O", "")]

    def step(position):
        (previous, previous_label), (tag, label) = pairs[position], pairs[position + 1]
        return (previous, tag, previous_label, label)

    found = set()
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            inside = all(tags[p] != "O" and not rule_starts(*step(p)) for p in range(start + 1, end))
            if tags[start] != "O" and rule_starts(*step(start)) and rule_ends(*step(end)) and inside:
                found.add((start, end, tags[start][2:]))
    return found


def naive_scores(gold, predicted):
    true = {(n, *span) for n, tags in enumerate(gold) for span in naive_spans(tags)}
    found = {(n, *span) for n, tags in enumerate(predicted) for span in naive_spans(tags)}
    precision = len(true & found) / len(found) if found else 0.0
    recall = len(true & found) / len(true) if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    pairs = [(a, b) for left, right in zip(gold, predicted, strict=True) for a, b in zip(left, right, strict=True)]
    return precision, recall, f1, sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0


TAGS = ["O", *(f"{prefix}-{label}" for prefix in "BIMES" for label in ("x", "y"))]
SEQUENCES = st.lists(st.sampled_from(TAGS), max_size=9)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["S-x"], [(0, 1, "x")]),
        (["B-x", "E-x"], [(0, 2, "x")]),
        (["B-x", "I-x", "E-x", "S-x"], [(0, 3, "x"), (3, 4, "x")]),
        (["B-x", "M-x", "E-x"], [(0, 3, "x")]),
        (["B-x", "I-x", "O", "B-y"], [(0, 2, "x"), (3, 4, "y")]),
        (["B-x", "B-x"], [(0, 1, "x"), (1, 2, "x")]),
        (["I-x", "I-x"], [(0, 2, "x")]),
        (["B-x", "I-y"], [(0, 1, "x"), (1, 2, "y")]),
        (["E-x", "E-x"], [(0, 1, "x"), (1, 2, "x")]),
        (["S-x", "I-x"], [(0, 1, "x"), (1, 2, "x")]),
        (["B-x", "S-x"], [(0, 1, "x"), (1, 2, "x")]),
        (["B", "M", "E", "S"], [(0, 3, ""), (3, 4, "")]),
        (["B-a-b", "E-a-b"], [(0, 2, "a-b")]),
    ],
)
def test_hand_cases(tags, expected):
    assert spans(tags) == [Span(*span) for span in expected]


@given(SEQUENCES)
def test_spans_follow_the_rules_of_conlleval(tags):
    assert {tuple(span) for span in spans(tags)} == naive_spans(tags)


@given(st.lists(SEQUENCES.flatmap(
    lambda tags: st.tuples(st.just(tags), st.lists(st.sampled_from(TAGS), min_size=len(tags), max_size=len(tags)))
), max_size=4))  # fmt: skip
def test_scores_equal_a_naive_count(pairs):
    gold, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = evaluate(gold, predicted)
    expected = naive_scores(gold, predicted)
    assert (scores.precision, scores.recall, scores.f1, scores.accuracy) == pytest.approx(expected)
    assert sum(part.correct for part in scores.per_label.values()) == scores.correct


def test_a_worked_example():
    gold = [["B-x", "E-x", "O", "S-y"], ["S-x", "S-x"]]
    predicted = [["B-x", "E-x", "S-y", "S-y"], ["B-x", "E-x"]]
    scores = evaluate(gold, predicted)
    # Found: x(0,2), y(2,3), y(3,4), x(0,2); right: the first x and the second y.
    assert (scores.gold, scores.predicted, scores.correct) == (4, 4, 2)
    assert scores.precision == scores.recall == scores.f1 == 0.5
    assert scores.accuracy == 3 / 6
    assert scores.per_label["x"].f1 == pytest.approx(2 * 1 / (2 + 3))
    assert scores.per_label["y"].precision == 0.5
    assert scores.per_label["y"].recall == 1.0
    assert scores.per_label["y"].accuracy is None


def test_nothing_to_find_scores_zero():
    scores = evaluate([["O"]], [["O"]])
    assert (scores.precision, scores.recall, scores.f1, scores.accuracy) == (0, 0, 0, 1)
    assert evaluate([], []).accuracy == 0


def test_lengths_must_match():
    with pytest.raises(ShapeError, match="as many predicted"):
        evaluate([["O"]], [])
    with pytest.raises(ShapeError, match="sequence 0: expected 1"):
        evaluate([["O"]], [["O", "O"]])


def test_an_unknown_prefix_is_named():
    with pytest.raises(ShapeError, match="'X-name'"):
        spans(["X-name"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from("xy")), max_size=6))
def test_bioes_tags_and_back(pieces):
    entities, position = [], 0
    for gap, length, label in pieces:
        entities.append(Span(position + gap, position + gap + length, label))
        position += gap + length
    assert spans(bioes_tags(entities, position + 2)) == entities


@pytest.mark.parametrize(
    ("entities", "length", "message"),
    [
        ([Span(2, 9, "a")], 4, "0 ≤ start < end ≤ 4, got Span"),
        ([Span(2, 2, "a")], 4, "0 ≤ start < end ≤ 4"),
        ([Span(3, 2, "a")], 4, "0 ≤ start < end ≤ 4"),
        ([Span(-2, 1, "a")], 4, "0 ≤ start < end ≤ 4"),
        ([Span(0, 2, "a"), Span(1, 3, "b")], 4, r"must not overlap, got Span\(start=1, end=3"),
        ([Span(0, 4, "a"), Span(1, 2, "b")], 4, "must not overlap"),
        ([Span(1, 2, "a"), Span(1, 2, "a")], 4, "must not overlap"),
        ([Span(0.0, 2, "a")], 4, "integer, integer, string"),
        ([Span(0, 2, 3)], 4, "integer, integer, string"),
        ([(0, 2)], 4, r"\(start, end, label\), got \(0, 2\)"),
        ([None], 4, r"\(start, end, label\), got None"),
        ([], -1, "length must be an integer ≥ 0, got -1"),
        ([], 1.5, "length must be an integer ≥ 0"),
    ],
)
def test_bad_entities(entities, length, message):
    with pytest.raises(ShapeError, match=message):
        bioes_tags(entities, length)


def strict_spans(tags):
    """The complete BIOES entities, by trying every run of positions."""
    found = []
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            letters, kinds = "".join(tag[0] for tag in tags[start:end]), {tag[2:] for tag in tags[start:end]}
            whole = letters == ("S" if end - start == 1 else "B" + "I" * (end - start - 2) + "E")
            if whole and len(kinds) == 1:
                found.append(Span(start, end, kinds.pop()))
    return found


@given(st.lists(st.sampled_from(TAGS).filter(lambda tag: tag[0] != "M"), max_size=9))
def test_the_strict_reading_takes_complete_entities_only(tags):
    assert spans(tags, scheme="BIOES") == strict_spans(tags)


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("BIO", ["I-x", "B-x", "I-x", "I-y"], [(1, 3, "x")]),
        ("IOB1", ["I-x", "B-x", "I-x", "I-y"], [(0, 1, "x"), (1, 3, "x"), (3, 4, "y")]),
        ("IOE2", ["I-x", "E-x", "E-x", "I-y"], [(0, 2, "x"), (2, 3, "x")]),
        ("BIOES", ["B-x", "O", "S-x", "I-x", "E-x"], [(2, 3, "x")]),
        ("BMES", ["B", "M", "E", "M", "S"], [(0, 3, ""), (4, 5, "")]),
        ("BILOU", ["B-x", "L-x", "U-y"], [(0, 2, "x"), (2, 3, "y")]),
    ],
)
def test_strict_hand_cases(scheme, tags, expected):
    assert spans(tags, scheme) == [Span(*span) for span in expected]


def test_strict_scores_and_unknown_schemes():
    gold, predicted = [["B-x", "E-x", "S-y"]], [["I-x", "E-x", "S-y"]]
    assert evaluate(gold, predicted).f1 == 1
    assert evaluate(gold, predicted, scheme="BIOES").f1 == pytest.approx(2 / 3)
    with pytest.raises(ShapeError, match="scheme must be one of BIO"):
        evaluate(gold, predicted, scheme="IOBX")
    with pytest.raises(ShapeError, match="labels of scheme BIO must be O or have a position of B, I, got 'E-x'"):
        spans(["E-x"], scheme="BIO")
