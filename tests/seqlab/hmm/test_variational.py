"""Variational models: the bound never falls, matches its definition, and unneeded states die out."""

import itertools
import math

import numpy as np
import pytest

from seqlab import hmm
from seqlab.errors import ShapeError
from seqlab.hmm import divergences
from seqlab.hmm.special import digamma


def cycle(n):
    return np.tile([0, 1, 2], n)[:, None]


def test_the_bound_rises_and_spare_states_fall_back_to_the_prior():
    model = hmm.VariationalCategoricalHMM(6, random_state=1, n_iter=200)
    model.fit(np.concatenate([cycle(30), cycle(20)]), [90, 60])
    assert (np.diff(model.monitor_.history) > -1e-7).all()
    used = np.bincount(model.predict(cycle(30)), minlength=6) > 0
    assert used.sum() == 3


def test_the_chain_of_expected_logarithms_is_enumerated():
    model = hmm.VariationalCategoricalHMM(2, random_state=0, n_iter=1, params="")
    X = np.array([[0], [1], [1]])
    model.fit(X)
    logs = {
        name: digamma(w) - digamma(w.sum(axis=-1, keepdims=True))
        for name in ("startprob", "transmat", "emissionprob")
        for w in [getattr(model, f"{name}_posterior_")]
    }
    total = 0.0
    for path in itertools.product(range(2), repeat=3):
        score = logs["startprob"][path[0]] + sum(logs["emissionprob"][k, x] for k, x in zip(path, X[:, 0], strict=True))
        total += math.exp(score + sum(logs["transmat"][i, j] for i, j in itertools.pairwise(path)))
    bound = math.log(total)
    for name in logs:
        bound -= divergences.kl_dirichlet(getattr(model, f"{name}_posterior_"), getattr(model, f"{name}_prior_"))
    assert model.monitor_.history[0] == pytest.approx(bound)


@pytest.mark.parametrize("kind", ["spherical", "diag", "full", "tied"])
def test_gaussians(kind):
    truth = hmm.GaussianHMM(2, "diag")
    truth.startprob_, truth.transmat_ = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]])
    truth.means_, truth.covars_ = np.array([[0.0, 0.0], [5.0, 5.0]]), np.ones((2, 2))
    truth.n_features = 2
    X, states = truth.sample(400, random_state=0)
    model = hmm.VariationalGaussianHMM(2, kind, random_state=0, n_iter=50).fit(X, [200, 200])
    if kind != "spherical":  # its update averages over features, which the bound does not
        assert (np.diff(model.monitor_.history) > -1e-6).all()
    found = model.predict(X)
    assert max((found == states).mean(), (found != states).mean()) > 0.98
    assert model.covars_.shape == (2, 2, 2)
    missing = X.copy()
    missing[5] = np.nan
    assert np.isfinite(hmm.VariationalGaussianHMM(2, kind, random_state=0, n_iter=3).fit(missing).score(missing))


def test_bad_priors():
    model = hmm.VariationalCategoricalHMM(2, startprob_prior=-1.0)
    with pytest.raises(ShapeError, match="startprob_prior_"):
        model.fit([0, 1])


@pytest.mark.parametrize("model", [hmm.VariationalCategoricalHMM, hmm.VariationalGaussianHMM])
def test_parameters_that_are_none(model):
    X = np.array([0, 1, 1, 0, 2, 1])[:, None]
    names = ["startprob_", "transmat_", "startprob_posterior_", "transmat_prior_"]
    names += ["emissionprob_", "emissionprob_prior_"] if model is hmm.VariationalCategoricalHMM else ["means_prior_"]
    for name in names:
        fitted = model(2, random_state=0, n_iter=2).fit(X)
        setattr(fitted, name, None)
        for call in (fitted.score, fitted.predict, lambda _, fitted=fitted: fitted.sample(2)):
            with pytest.raises(hmm.NotFittedError, match=f"{name} is not set"):
                call(X)
    fitted = model(2, random_state=0, n_iter=2).fit(X)
    fitted.startprob_ = [0.5, 0.3, 0.2]
    with pytest.raises(ShapeError, match=r"startprob_ must have shape \(2,\)"):
        fitted.score(X)
