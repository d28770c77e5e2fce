"""The linear chain's objective against enumeration and finite differences, and its optimum against CRFsuite's."""

import itertools

import numpy as np
import pytest
import torch

from seqlab.errors import ConfigError
from seqlab.tagging import word_features
from seqlab.tagging.attributes import Attributes, merge_equal_columns
from seqlab.tagging.linear import LinearChain, LinearSettings, Objective
from seqlab.tagging.scores import AllowedMoves, sizes_of
from tests.seqlab import oracles

K = 3
DESCRIBED = [[["a", "b"], {"a": 0.5, "c": -2.0}, ["b"]], [["c"], ["c", "d"]], [["a", "d", "d"]], []]
GOLD = np.array([0, 2, 1, 1, 0, 2])
FREE = AllowedMoves.of(["x", "y", "z"], constrained=False)


def brute_force(sentences, gold, states, transitions, attributes, c2):
    """The objective by listing every path of every sentence."""
    value, at = c2 * ((states**2).sum() + (transitions**2).sum()), 0
    for sentence in sentences:
        rows = attributes.rows([sentence])
        emissions = [
            [sum(rows.values[e] * states[rows.columns[e], k] for e in range(a, b)) for k in range(K)]
            for a, b in itertools.pairwise(rows.offsets)
        ]
        path = gold[at : at + len(sentence)].tolist()
        at += len(sentence)
        if path:
            chain = (emissions, transitions.tolist(), [0.0] * K, [0.0] * K)
            value += oracles.enumerate_chain(*chain).log_partition - oracles.score_of(path, *chain)
    return value


def objective_of(settings):
    attributes, rows = Attributes.learn(DESCRIBED)
    return attributes, Objective(rows, GOLD, sizes_of(DESCRIBED), FREE, settings)


def test_the_objective_is_that_of_all_paths(backend):
    attributes, objective = objective_of(LinearSettings(c2=0.3))
    point = np.random.default_rng(0).normal(size=objective.size)
    expected = brute_force(DESCRIBED, GOLD, *objective.split(point), attributes, 0.3)
    assert objective(point)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("everything", [True, False])
def test_the_gradient_is_that_of_finite_differences(backend, everything):
    settings = LinearSettings(c2=0.3, all_possible_states=everything, all_possible_transitions=everything)
    _, objective = objective_of(settings)
    point = np.random.default_rng(1).normal(size=objective.size)
    _, gradient = objective(point)
    for i in range(objective.size):
        step = np.zeros_like(point)
        step[i] = 1e-6
        slope = (objective(point + step)[0] - objective(point - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, abs=1e-6)
    assert objective.size == (4 * K + K * K if everything else 9 + 3)
    assert np.array_equal(objective.joined(*objective.split(point)), point)


def test_weights_of_pairs_that_never_met_stay_zero():
    settings = LinearSettings(all_possible_states=False, all_possible_transitions=False)
    model, _ = LinearChain.fit(DESCRIBED, GOLD, FREE, settings)
    met = {"a": {0, 2}, "b": {0, 1}, "c": {0, 1, 2}, "d": {0, 2}}
    for name, row in zip(model.attributes.names, model.states, strict=True):
        assert set(np.flatnonzero(row)) == met[name]
    assert set(zip(*np.nonzero(model.transitions), strict=True)) == {(0, 2), (2, 1), (1, 0)}


def test_merging_equal_columns_changes_no_weight(text):
    sentences, tags = text
    described = [word_features(sentence) for sentence in sentences]
    names = sorted({tag for row in tags for tag in row})
    gold = np.array([names.index(tag) for row in tags for tag in row])
    allowed = AllowedMoves.of(names, constrained=False)
    settings = LinearSettings(c2=0.5, epsilon=1e-9, delta=0.0)
    model, found = LinearChain.fit(described, gold, allowed, settings)
    attributes, rows = Attributes.learn(described)
    assert merge_equal_columns(rows)[0].num_columns < len(attributes) / 2
    objective = Objective(rows, gold, sizes_of(described), allowed, settings)
    value, gradient = objective(objective.joined(model.states, model.transitions).astype(float))
    assert value == pytest.approx(found.value, rel=1e-6)
    assert np.abs(gradient).max() < 1e-4


def test_an_l1_penalty_leaves_few_weights(text):
    sentences, tags = text
    described = [word_features(sentence) for sentence in sentences]
    names = sorted({tag for row in tags for tag in row})
    gold = np.array([names.index(tag) for row in tags for tag in row])
    allowed = AllowedMoves.of(names, constrained=False)
    many, few = (
        LinearChain.fit(described, gold, allowed, LinearSettings(c1=c1, c2=0.01))[0].states for c1 in (0.0, 0.3)
    )
    assert 0 < np.count_nonzero(few) < np.count_nonzero(many) / 4


def test_the_number_of_threads_changes_no_bit(backend, text):
    sentences, tags = text
    described = [word_features(sentence) for sentence in sentences * 20]
    names = sorted({tag for row in tags for tag in row})
    gold = np.array([names.index(tag) for row in tags * 20 for tag in row])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            model, _ = LinearChain.fit(
                described, gold, AllowedMoves.of(names, False), LinearSettings(max_iterations=20)
            )
            found.append(model)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0].states, found[1].states)
    assert np.array_equal(found[0].transitions, found[1].transitions)


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("c1", [0.0, 0.2])
def test_the_optimum_is_crfsuites(text, tmp_path, everything, c1):
    pycrfsuite = pytest.importorskip("pycrfsuite", reason="pip install python-crfsuite")
    sentences, tags = text
    described = [word_features(sentence) for sentence in sentences if sentence]
    rows = [row for row in tags if row]
    names = sorted({tag for row in rows for tag in row})
    gold = np.array([names.index(tag) for row in rows for tag in row])
    trainer = pycrfsuite.Trainer(verbose=False)
    options = {"c1": c1, "c2": 0.2, "epsilon": 1e-8, "delta": 1e-12}
    names_of = ("feature.possible_states", "feature.possible_transitions")
    trainer.set_params(options | dict.fromkeys(names_of, everything))
    for sentence, row in zip(described, rows, strict=True):
        trainer.append(sentence, row)
    trainer.train(str(tmp_path / "peer.crfsuite"))
    settings = LinearSettings(**options, all_possible_states=everything, all_possible_transitions=everything)
    model, found = LinearChain.fit(described, gold, AllowedMoves.of(names, False), settings)
    assert found.value == pytest.approx(trainer.logparser.last_iteration["loss"], rel=1e-4)
    tagger = pycrfsuite.Tagger()
    tagger.open(str(tmp_path / "peer.crfsuite"))
    peer = tagger.info()
    for (name, tag), weight in peer.state_features.items():
        ours = model.states[model.attributes.names.index(name), names.index(tag)]
        assert ours == pytest.approx(weight, abs=2e-3)
    for (before, after), weight in peer.transitions.items():
        assert model.transitions[names.index(before), names.index(after)] == pytest.approx(weight, abs=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"c2": -1}, "c2 must be a number ≥ 0, got -1"), ({"max_iterations": 0}, "max_iterations must be at least 1")],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        LinearSettings(**settings)
