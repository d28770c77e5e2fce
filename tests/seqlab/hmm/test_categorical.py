"""`CategoricalHMM`: decoding against enumeration, training, smoothing, and rows that never become NaN."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import ShapeError
from seqlab.hmm import CategoricalHMM
from tests.seqlab import oracles

NEVER = float("-inf")


def make(K=3, M=4, seed=0, **options):
    """A model with random parameters: K states, M symbols."""
    draw = np.random.default_rng(seed)
    model = CategoricalHMM(K, **options)
    model.startprob_ = draw.dirichlet(np.ones(K))
    model.transmat_ = draw.dirichlet(np.ones(K), size=K)
    model.emissionprob_ = draw.dirichlet(np.ones(M), size=K)
    return model


def enumerate_rows(model, symbols, lengths):
    def log(p):
        return [[math.log(v) if v > 0 else NEVER for v in row] for row in np.atleast_2d(p)]

    start, moves, emits = log(model.startprob_)[0], log(model.transmat_), log(model.emissionprob_)
    ends = np.cumsum(lengths)
    for begin, end in zip(ends - lengths, ends, strict=True):
        row = [[emits[j][k] for j in range(len(start))] for k in symbols[begin:end]]
        yield oracles.enumerate_chain(row, moves, start, [0.0] * len(start))


@given(st.integers(1, 3), st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_inference_agrees_with_enumeration(K, seed, lengths):
    model = make(K, 4, seed)
    if K == 3 and seed % 2:
        model.transmat_[0] = [0.0, 0.3, 0.7]  # a forbidden move
    symbols = np.random.default_rng(seed).integers(4, size=sum(lengths))
    truth = list(enumerate_rows(model, symbols, np.array(lengths)))
    total = sum(row.log_partition for row in truth)
    assert model.score(symbols, lengths) == pytest.approx(total)
    log_prob, posteriors = model.score_samples(symbols[:, None], lengths)
    assert log_prob == pytest.approx(total)
    np.testing.assert_allclose(posteriors, np.concatenate([row.states for row in truth]), atol=1e-9)
    best, path = model.decode(symbols, lengths)
    assert best == pytest.approx(sum(row.best_score for row in truth))
    if len(lengths) == 1:  # among paths of equal probability any will do
        chances = model.transmat_[path[:-1], path[1:]].prod() * model.emissionprob_[path, symbols].prod()
        assert math.log(model.startprob_[path[0]] * chances) == pytest.approx(best)
    assert (model.predict(symbols, lengths) == path).all()
    assert (model.decode(symbols, lengths, algorithm="map")[1] == posteriors.argmax(axis=1)).all()


def test_the_dog():
    model = CategoricalHMM(2)
    model.startprob_, model.transmat_ = [0.5, 0.5], [[0.7, 0.3], [0.4, 0.6]]
    model.emissionprob_ = [[0.2, 0.6, 0.2], [0.4, 0.1, 0.5]]
    log_prob, path = model.decode([1, 1, 2, 1, 0, 1, 2, 1, 0, 2, 2, 0, 1, 0, 1])
    assert path.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert math.exp(log_prob) == pytest.approx(9.36970868e-10, rel=1e-8)


def test_supervised_counts():
    X, states, lengths = [0, 1, 1, 0, 2], [0, 1, 1, 0, 0], [3, 2]
    model = CategoricalHMM(2).fit_supervised(X, states, lengths, smoothing=0.0)
    assert model.startprob_.tolist() == [1.0, 0.0]
    assert model.transmat_.tolist() == [[0.5, 0.5], [0.0, 1.0]]  # no move across the two sequences
    np.testing.assert_allclose(model.emissionprob_, [[2 / 3, 0, 1 / 3], [0, 1, 0]])
    smooth = CategoricalHMM(2, n_features=4).fit_supervised(
        np.array(X)[:, None], states, lengths, start_smoothing=0.0, emission_smoothing=0.5
    )
    assert smooth.startprob_.tolist() == [1.0, 0.0]
    np.testing.assert_allclose(smooth.transmat_, [[0.5, 0.5], [1 / 3, 2 / 3]])
    np.testing.assert_allclose(smooth.emissionprob_, [[0.5, 0.1, 0.3, 0.1], [0.125, 0.625, 0.125, 0.125]])


def test_supervised_zero_length_sequences_count_nothing():
    one = CategoricalHMM(2).fit_supervised([0, 1], [1, 0], [2])
    other = CategoricalHMM(2).fit_supervised([0, 1], [1, 0], [0, 2, 0])
    assert one.startprob_.tolist() == other.startprob_.tolist()
    assert other.predict([0, 1], [0, 2, 0]).shape == (2,)


def test_unvisited_state_becomes_uniform_or_keeps_its_row():
    model = CategoricalHMM(3, n_features=2)
    with pytest.warns(UserWarning, match="nothing was counted") as caught:
        model.fit_supervised([0, 1, 0], [0, 1, 0], smoothing=0.0)
    assert [str(warning.message) for warning in caught] == [
        f"{name}: nothing was counted for rows [2]; they become uniform" for name in ("transmat_", "emissionprob_")
    ]
    np.testing.assert_allclose(model.transmat_[2], 1 / 3)
    model.transmat_[2] = [0.2, 0.3, 0.5]
    with pytest.warns(UserWarning, match="keep their values"):
        model.fit_supervised([0, 1, 0], [0, 1, 0], smoothing=0.0)
    assert model.transmat_[2].tolist() == [0.2, 0.3, 0.5]


def test_baum_welch_never_gets_worse_and_recovers_the_model():
    truth = make(2, 3, seed=5)
    truth.transmat_ = np.array([[0.9, 0.1], [0.2, 0.8]])
    truth.emissionprob_ = np.array([[0.8, 0.15, 0.05], [0.05, 0.15, 0.8]])
    X, _ = truth.sample(3000, random_state=1)
    lengths = [30] * 100
    model = CategoricalHMM(2, random_state=3, n_iter=60, tol=1e-4).fit(X, lengths)
    assert (np.diff(model.monitor_.history) > -1e-8).all()
    assert model.monitor_.converged
    assert model.score(X, lengths) > truth.score(X, lengths) - 1.0
    order = np.argsort(model.emissionprob_[:, 2])
    np.testing.assert_allclose(model.transmat_[order][:, order], truth.transmat_, atol=0.1)


def test_baum_welch_step_is_the_enumerated_expectation():
    model = make(2, 3, n_iter=1, init_params="")
    symbols, lengths = np.array([0, 2, 1, 1, 0]), np.array([3, 2])
    rows = list(enumerate_rows(model, symbols, lengths))
    moves = sum(np.array(row.moves) for row in rows)
    states = np.concatenate([row.states for row in rows])
    start = rows[0].states[0] + np.array(rows[1].states[0])
    emitted = np.stack([states[symbols == k].sum(axis=0) for k in range(3)], axis=1)
    model.fit(symbols, lengths)
    for found, counts in [(model.startprob_, start), (model.transmat_, moves), (model.emissionprob_, emitted)]:
        np.testing.assert_allclose(found, counts / counts.sum(axis=-1, keepdims=True))


def test_fit_keeps_what_params_leaves_out_and_rows_of_unreachable_states():
    model = make(2, 3, n_iter=3, params="st", init_params="")
    model.startprob_, model.transmat_ = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.4, 0.6]])
    before = model.emissionprob_.copy()
    with pytest.warns(UserWarning, match=r"transmat_: nothing was counted for rows \[1\]; they keep"):
        model.fit([0, 1, 2, 1])
    assert (model.emissionprob_ == before).all()
    assert model.transmat_.tolist() == [[1.0, 0.0], [0.4, 0.6]]


def test_sampling_is_seeded_and_follows_the_parameters():
    model = make(2, 3)
    X, states = model.sample(4000, random_state=7)
    again = model.sample(4000, random_state=7)
    assert (again[0] == X).all()
    assert (states == again[1]).all()
    assert X.shape == (4000, 1)
    fitted = CategoricalHMM(2, n_features=3).fit_supervised(X, states)
    np.testing.assert_allclose(fitted.transmat_, model.transmat_, atol=0.05)
    np.testing.assert_allclose(fitted.emissionprob_, model.emissionprob_, atol=0.05)
    assert model.sample(2, random_state=0, currstate=1)[1][0] == 1


def test_impossible_observations_are_never_nan():
    model = make(2, 3)
    model.emissionprob_ = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    assert model.score([0, 2]) == NEVER
    assert (model.predict_proba([0, 2, 1], [2, 1])[:2] == 0).all()
    assert model.predict([0, 2]).shape == (2,)
    model.init_params = ""
    with pytest.raises(ShapeError, match="cannot produce"):
        model.fit([0, 2])


def test_long_sequence_does_not_underflow():
    model = make(3, 4)
    X, _ = model.sample(2000, random_state=0)
    assert -4000 < model.score(X) < -1000
    assert model.score(X) > model.decode(X)[0]


def test_verbose_reports_to_stderr(capsys):
    CategoricalHMM(2, n_iter=2, tol=-1, verbose=True, random_state=0).fit([0, 1, 0, 0])
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("X", "lengths", "message"),
    [
        ([0, 5], None, "Largest symbol is 5 but the model only emits symbols up to 3"),
        ([0, -1], None, "nonnegative, got -1"),
        ([0.5, 1.0], None, "integers, got float64"),
        ([0, 1], [3], "lengths must add up to 2 samples, got a sum of 3"),
        ([0, 1], [3, -1], "lengths must"),
        ([[0, 1], [1, 0]], None, r"X must have shape \(n_samples, 1\)"),
        ([], None, "X must have shape"),
    ],
)
def test_bad_observations(X, lengths, message):
    with pytest.raises(ShapeError, match=message):
        make().decode(X, lengths)


def test_bad_parameters():
    with pytest.raises(ShapeError, match="n_components"):
        CategoricalHMM(0).fit([0, 1])
    with pytest.raises(ShapeError, match="startprob_ is not set"):
        CategoricalHMM(2).score([0])
    model = make()
    model.transmat_ = np.full((3, 3), 0.5)
    with pytest.raises(ShapeError, match="transmat_ must not be negative and sum to 1"):
        model.score([0])
    model.transmat_ = np.eye(2)
    with pytest.raises(ShapeError, match=r"transmat_ must have shape \(3, 3\)"):
        model.score([0])
    with pytest.raises(ShapeError, match="algorithm must be"):
        make().decode([0], algorithm="best")


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        ([0, 3], {}, "states must lie in 0 … 2, got 0 … 3"),
        ([0], {}, "states must be 2 integers"),
        ([0, 1], {"smoothing": -1.0}, "0 ≤ smoothing < inf, got -1.0"),
    ],
)
def test_bad_supervision(states, options, message):
    with pytest.raises(ShapeError, match=message):
        CategoricalHMM(3).fit_supervised([0, 1], states, **options)


def test_missing_paths_are_padded():
    best = make(2, 3).decode_k_best([0, 1, 2], [1, 2], k=3)
    assert np.isneginf(best.log_prob).tolist() == [[False, False], [False, False], [True, False]]
    assert best.states[2, 0] == -1
    assert (best.states[2, 1:] >= 0).all()


def test_ties_as_in_hmmlearn():
    """The lowest index at the last step, the highest at each step back: hmmlearn's rule for equally good paths."""
    model = CategoricalHMM(3)
    model.startprob_, model.transmat_ = np.full(3, 1 / 3), np.full((3, 3), 1 / 3)
    model.emissionprob_ = np.full((3, 2), 0.5)
    assert model.predict([0, 1, 0, 1]).tolist() == [2, 2, 2, 0]
