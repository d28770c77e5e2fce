"""Entity scores against seqeval: its default (conlleval) mode and its strict mode, on random tags."""

import random

import pytest

from seqlab.crf import label_constraints
from seqlab.metrics import evaluate, spans

seqeval = pytest.importorskip("seqeval", reason="pip install seqeval")
from seqeval import scheme as peer_schemes  # noqa: E402
from seqeval.metrics import f1_score, precision_score, recall_score  # noqa: E402
from seqeval.metrics.sequence_labeling import get_entities  # noqa: E402

SCHEMES = [("BIO", "IOB2", "BI"), ("BIOES", "IOBES", "BIES"), ("IOE2", "IOE2", "IE"), ("BILOU", "BILOU", "BILU")]


def labels_of(letters):
    return ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("x", "y", "a-b"))]


def corpus(letters, seed):
    """Gold and predicted tags of 40 sequences; the predictions are the gold tags with every third redrawn."""
    draw = random.Random(seed)
    labels = labels_of(letters)
    gold = [draw.choices(labels, k=draw.randint(1, 9)) for _ in range(40)]
    predicted = [[draw.choice(labels) if draw.random() < 0.3 else tag for tag in tags] for tags in gold]
    return gold, predicted


def scores_of_peer(gold, predicted, **how):
    return [score(gold, predicted, zero_division=0, **how) for score in (precision_score, recall_score, f1_score)]


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("letters", ["BI", "BIES", "IE", "I"])
def test_the_default_mode(letters, seed):
    gold, predicted = corpus(letters, seed)
    ours = evaluate(gold, predicted)
    assert [ours.precision, ours.recall, ours.f1] == pytest.approx(scores_of_peer(gold, predicted))
    for tags in gold:
        assert [(s.label, s.start, s.end - 1) for s in spans(tags)] == get_entities(tags)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize(("ours", "theirs", "letters"), SCHEMES)
def test_the_strict_mode(ours, theirs, letters, seed):
    gold, predicted = corpus(letters, seed)
    scores = evaluate(gold, predicted, scheme=ours)
    peer = scores_of_peer(gold, predicted, mode="strict", scheme=getattr(peer_schemes, theirs))
    assert [scores.precision, scores.recall, scores.f1] == pytest.approx(peer)


@pytest.mark.parametrize(("ours", "theirs", "letters"), [*SCHEMES, ("IOB1", "IOB1", "IB")])
def test_what_the_constraints_allow_reads_the_same_strictly_and_leniently(ours, theirs, letters):
    """Random walks over the allowed moves; for IOB1 seqeval agrees on well-formed tags only."""
    draw, labels = random.Random(0), labels_of(letters)
    allowed = label_constraints(labels, ours)
    pairs, start, end = allowed.pairs.tolist(), allowed.start.tolist(), allowed.end.tolist()
    for _ in range(200):
        path = [draw.choice([tag for tag in range(len(labels)) if start[tag]])]
        while len(path) < 8 or not end[path[-1]]:
            path.append(draw.choice([tag for tag in range(len(labels)) if pairs[path[-1]][tag]]))
        tags = [labels[tag] for tag in path]
        found = [(span.label, span.start, span.end) for span in spans(tags, ours)]
        (peer,) = peer_schemes.Entities([tags], getattr(peer_schemes, theirs)).entities
        assert found == [(entity.tag, entity.start, entity.end) for entity in peer]
        if ours != "BILOU":  # conlleval does not know L and U
            assert found == [(span.label, span.start, span.end) for span in spans(tags)]
