"""Real text: trained on one part of UD Chinese GSDSimp, scored on another, beside sklearn-crfsuite."""

import pytest

from seqlab.tagging import Tagger, bmes_tags, character_features, word_features

CRFSUITES = {"c1": 0.0, "c2": 0.1, "all_possible_states": True, "all_possible_transitions": True}


def task(name, data):
    """Sentences and tags of a task."""
    words, labels = data
    if name == "pos":
        return words, labels
    return ["".join(sentence) for sentence in words], [bmes_tags(sentence) for sentence in words]


def score(name, gold, found):
    from seqlab.metrics import evaluate

    scores = evaluate(gold, found) if name == "segmentation" else None
    if scores is not None:
        return scores.f1
    pairs = [a == b for row, tags in zip(gold, found, strict=True) for a, b in zip(row, tags, strict=True)]
    return sum(pairs) / len(pairs)


FEATURES = {"segmentation": character_features, "pos": word_features}
AT_LEAST = {"segmentation": 0.845, "pos": 0.847}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segmentation", "pos"])
def test_hand_features_reach_crfsuites_score(name, ud_dev, ud_test, tmp_path):
    sentences, tags = task(name, ud_dev)
    unseen, gold = task(name, ud_test)
    tagger = Tagger(features=FEATURES[name], **CRFSUITES).fit(sentences, tags)
    ours = score(name, gold, tagger.predict(unseen))
    assert ours > AT_LEAST[name]
    sklearn_crfsuite = pytest.importorskip("sklearn_crfsuite", reason="pip install sklearn-crfsuite")
    peer = sklearn_crfsuite.CRF(**CRFSUITES).fit([FEATURES[name](sentence) for sentence in sentences], tags)
    theirs = score(name, gold, peer.predict([FEATURES[name](sentence) for sentence in unseen]))
    assert ours > theirs - 0.001  # the same optimum, reached to a tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segmentation", "pos"])
def test_a_network_beats_hand_features(name, ud_dev, ud_test):
    sentences, tags = task(name, ud_dev)
    unseen, gold = task(name, ud_test)
    linear = Tagger(features=FEATURES[name], delta=1e-4).fit(sentences, tags)
    network = Tagger("bilstm", features=FEATURES[name]).fit(sentences, tags)
    assert score(name, gold, network.predict(unseen)) > score(name, gold, linear.predict(unseen)) + 0.002
