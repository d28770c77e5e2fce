"""The walk of Viterbi's algorithm against the engine, and as a reader sees it."""

import math

import numpy as np
import pytest
import torch

from seqlab import chain
from seqlab.chain.explain import explain_viterbi
from seqlab.crf import CRF
from seqlab.errors import ShapeError
from seqlab.hmm import CategoricalHMM, GaussianHMM

SEEN = [1, 1, 2, 1, 0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1]


def dog():
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_ = np.array([0.5, 0.5]), np.array([[0.7, 0.3], [0.4, 0.6]])
    model.emissionprob_ = np.array([[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]])
    return model


@pytest.mark.parametrize("seed", range(20))
def test_like_the_engine(seed):
    draw = np.random.default_rng(seed)
    T, K = draw.integers(1, 7), draw.integers(1, 5)
    parts = [draw.normal(size=shape) for shape in ((T, K), (K, K), (K,), (K,))]
    walk = explain_viterbi(*parts)
    tensors = [torch.from_numpy(part) for part in parts]
    best = chain.viterbi(tensors[0].unsqueeze(1), *tensors[1:])
    assert walk.path.tolist() == best.tags[:, 0].tolist()
    assert walk.score == pytest.approx(best.score.item())
    for t in range(1, T):
        before = walk.deltas[t - 1][:, None] + parts[1]
        assert walk.back_pointers[t].tolist() == before.argmax(axis=0).tolist()


def test_the_dog_in_words(capsys):
    walk = dog().explain(SEEN, states=["健康", "生病"])
    assert walk.path.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert math.exp(walk.score) == pytest.approx(9.36970868e-10, rel=1e-8)
    text = str(walk)
    assert "step 2\n  健康: -2.0715 (probability 0.126) from 健康" in text
    assert "step 1 (eats)" in str(dog().explain(SEEN[:1], steps=["eats"]))
    assert text.endswith("生病 → 健康 → 健康 → 健康")
    score, path = dog().decode(SEEN, explain=True)
    assert (score, path.tolist()) == (pytest.approx(walk.score), walk.path.tolist())
    assert "Back: the best end is 0" in capsys.readouterr().out


def test_one_walk_for_each_sequence(capsys):
    plain = dog().decode(SEEN, [5, 0, 10])
    score, path = dog().decode(SEEN, [5, 0, 10], explain=["健康", "生病"])
    assert (score, path.tolist()) == (plain[0], plain[1].tolist())
    first, second = dog().explain(SEEN[:5], states=["健康", "生病"]), dog().explain(SEEN[5:], states=["健康", "生病"])
    expected = f"sequence 1 of 3\n{first}\nsequence 2 of 3: empty\nsequence 3 of 3\n{second}\n"
    assert capsys.readouterr().out == expected


def test_ties_are_told_as_they_are_decoded():
    model = CategoricalHMM(3)
    model.startprob_, model.transmat_ = np.array([0.25, 0.25, 0.5]), np.full((3, 3), 1 / 3)
    model.emissionprob_ = np.array([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
    for seen in ([0, 0, 0], [0, 1, 0], [0]):
        assert model.explain(seen).path.tolist() == model.decode(seen)[1].tolist()
    assert model.explain([0, 0, 0]).back_pointers[2, 0] == 1


def test_map_is_no_viterbi_run(capsys):
    for arguments in ({"algorithm": "map", "explain": True}, {"algorithm": "map", "explain": ["a", "b"]}):
        with pytest.raises(ShapeError, match="explain tells a Viterbi run"):
            dog().decode(SEEN, **arguments)
    with pytest.raises(ShapeError, match="states must be 2 names, got 1"):
        dog().decode(SEEN, explain=["a"])
    assert capsys.readouterr().out == ""


def test_a_crf_has_scores_not_probabilities():
    crf = CRF(2)
    emissions = torch.full((3, 2), -1.0, requires_grad=True)
    walk = explain_viterbi(emissions, *crf.transition_scores())
    assert walk.path.tolist() == crf.decode(emissions.unsqueeze(1))[0]
    assert walk.score == pytest.approx(crf.best_paths(emissions.unsqueeze(1)).score.item())
    assert not walk.probabilities
    assert "probability" not in str(walk)
    assert "probability" in str(walk._replace(probabilities=True))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"transitions": np.log([[0.7, 0.3], [0.4, 0.59999]])}, False),
        ({"start": np.log([0.5, 0.4])}, False),
        ({"emissions": np.array([[0.3, -1.0]])}, False),
        ({"start": np.log([0.5, 0.4]), "probabilities": True}, True),
        ({"probabilities": False}, False),
    ],
)
def test_whether_scores_are_probabilities(change, expected):
    arguments = {"emissions": np.log([[0.2, 0.4]]), "transitions": np.log([[0.7, 0.3], [0.4, 0.6]])}
    walk = explain_viterbi(**arguments | {"start": np.log([0.5, 0.5])} | change)
    assert walk.probabilities is expected
    assert ("probability" in str(walk)) is expected


def test_an_hmm_that_ends_has_probabilities_one_with_densities_has_not():
    model = dog()
    model.endprob_ = np.array([0.1, 0.2])
    assert model.explain(SEEN).probabilities
    gaussian = GaussianHMM(1)
    gaussian.startprob_, gaussian.transmat_ = np.ones(1), np.ones((1, 1))
    gaussian.means_, gaussian.covars_ = np.zeros((1, 1)), np.ones((1, 1))
    assert not gaussian.explain([[0.0], [1.0]]).probabilities


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emissions": np.zeros(3)}, r"emissions must have shape"),
        ({"transitions": np.zeros((2, 3))}, r"transitions must have shape \(2, 2\)"),
        ({"start": [np.nan, 0.0]}, "start must hold no NaN"),
        ({"states": ["a"]}, "states must be 2 names, got 1"),
    ],
)
def test_bad_input(change, message):
    arguments = {"emissions": np.zeros((3, 2)), "transitions": np.zeros((2, 2)), "start": np.zeros(2)} | change
    with pytest.raises(ShapeError, match=message):
        explain_viterbi(**arguments)
