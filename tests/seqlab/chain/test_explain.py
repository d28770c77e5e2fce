"""The walk of Viterbi's algorithm against the engine, and as a reader sees it."""

import math

import numpy as np
import pytest
import torch

from seqlab import chain
from seqlab.chain.explain import explain_viterbi
from seqlab.errors import ShapeError
from seqlab.hmm import CategoricalHMM

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
    assert "step 2 (2)\n  健康: -2.0715 (probability 0.126) from 健康" in text
    assert text.endswith("生病 → 健康 → 健康 → 健康")
    score, path = dog().decode(SEEN, explain=True)
    assert (score, path.tolist()) == (pytest.approx(walk.score), walk.path.tolist())
    assert "Back: the best end is 0" in capsys.readouterr().out


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
