"""What every family of emissions keeps: inference by enumeration, EM that never loses, missing rows, known states."""

import itertools
import math
import pickle

import numpy as np
import pytest

from seqlab import chain, hmm, kernels
from seqlab.chain import packed
from seqlab.errors import ShapeError
from tests.seqlab import oracles

KINDS = ["spherical", "diag", "full", "tied"]
FAMILIES = [
    "categorical",
    "multinomial",
    "poisson",
    *(f"gaussian {k}" for k in KINDS),
    *(f"mixture {k}" for k in KINDS),
]
D = 2


def spd(draw, count):
    roots = draw.normal(size=(count, D, D))
    return roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(D)


def covars_of(kind, draw, *shape):
    if kind in ("spherical", "diag"):
        return draw.uniform(0.5, 2.0, size=shape if kind == "spherical" else (*shape, D))
    return spd(draw, math.prod(shape)).reshape(*shape, D, D)


def make(family, K=3, seed=0, **options):
    """A model with random parameters that is not trained yet."""
    draw = np.random.default_rng(seed)
    name, _, kind = family.partition(" ")
    if name == "categorical":
        model = hmm.CategoricalHMM(K, n_features=4, **options)
        model.emissionprob_ = draw.dirichlet(np.ones(4), size=K)
    elif name == "multinomial":
        model = hmm.MultinomialHMM(K, n_trials=5, **options)
        model.emissionprob_ = draw.dirichlet(np.ones(3), size=K)
    elif name == "poisson":
        model = hmm.PoissonHMM(K, **options)
        model.lambdas_ = draw.uniform(0.5, 6.0, size=(K, D))
    elif name == "gaussian":
        model = hmm.GaussianHMM(K, kind, **options)
        model.means_ = draw.normal(scale=2.0, size=(K, D))
        model.covars_ = spd(draw, 1)[0] if kind == "tied" else covars_of(kind, draw, K)
    else:
        model = hmm.GMMHMM(K, 2, covariance_type=kind, **options)
        model.weights_, model.means_ = draw.dirichlet(np.ones(2), size=K), draw.normal(scale=2.0, size=(K, 2, D))
        model.covars_ = spd(draw, K) if kind == "tied" else covars_of(kind, draw, K, 2)
        model.n_features = D
    if name == "gaussian":
        model.n_features = D
    model.startprob_, model.transmat_ = draw.dirichlet(np.ones(K)), draw.dirichlet(np.ones(K), size=K)
    return model


def normal(x, mean, covar):
    shift = x - mean
    return math.exp(-0.5 * shift @ np.linalg.inv(covar) @ shift) / math.sqrt(np.linalg.det(2 * math.pi * covar))


def probability(model, family, x, k):
    """b(x | k) from its definition."""
    name, _, kind = family.partition(" ")
    if name == "categorical":
        return model.emissionprob_[k, int(x[0])]
    if name == "multinomial":
        ways = math.factorial(int(x.sum())) / math.prod(math.factorial(int(v)) for v in x)
        return ways * math.prod(p**v for p, v in zip(model.emissionprob_[k], x, strict=True))
    if name == "poisson":
        rates = model.lambdas_[k]
        return math.prod(r**v * math.exp(-r) / math.factorial(int(v)) for r, v in zip(rates, x, strict=True))
    if name == "gaussian":
        return normal(x, model.means_[k], model.covars_[k])
    total = 0.0
    for m in range(2):
        covar = model.covars_[k] if kind == "tied" else model.covars_[k, m]
        full = covar if kind in ("tied", "full") else covar * np.eye(D)
        total += model.weights_[k, m] * normal(x, model.means_[k, m], full)
    return total


def logs(values):
    return [[math.log(v) if v > 0 else -math.inf for v in row] for row in np.atleast_2d(values)]


@pytest.fixture(params=["torch", "numba"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install numba")
    with kernels.use_backend(request.param):
        yield request.param


@pytest.mark.parametrize("family", FAMILIES)
def test_inference_agrees_with_enumeration(family, backend):
    model, lengths = make(family), [4, 1, 3]
    X, _ = model.sample(sum(lengths), random_state=1)
    rows = [[probability(model, family, x, k) for k in range(3)] for x in X]
    truth = []
    for begin, size in zip(np.cumsum([0, *lengths]), lengths, strict=False):
        part = logs(rows[begin : begin + size])
        truth.append(oracles.enumerate_chain(part, logs(model.transmat_), logs(model.startprob_)[0], [0.0] * 3))
    log_prob, posteriors = model.score_samples(X, lengths)
    assert log_prob == pytest.approx(sum(row.log_partition for row in truth))
    assert model.score(X, lengths) == pytest.approx(log_prob)
    np.testing.assert_allclose(posteriors, np.concatenate([row.states for row in truth]), atol=1e-9)
    best, path = model.decode(X, lengths)
    assert best == pytest.approx(sum(row.best_score for row in truth))
    assert path.tolist() == list(itertools.chain(*(row.best for row in truth)))
    assert model.predict(X, lengths).tolist() == path.tolist()
    inputs = model.to_chain(X, lengths)
    np.testing.assert_allclose(chain.log_partition(*inputs).numpy(), [row.log_partition for row in truth])
    paths = model.decode_k_best(X, lengths, k=3)
    assert paths.states.shape == (3, 8)
    np.testing.assert_array_equal(paths.states[0], path)
    assert paths.log_prob[0].sum() == pytest.approx(best)


@pytest.mark.parametrize("family", FAMILIES)
def test_em_never_loses_and_stays_finite(family, backend):
    truth = make(family, seed=3)
    X, _ = truth.sample(300, random_state=2)
    flat = {"covars_prior": 0.0} if family.startswith("gaussian") else {}
    model = make(family, seed=4, n_iter=12, tol=-1.0, init_params="", **flat)
    model.fit(X, [100] * 3)
    history = np.array(model.monitor_.history)
    assert (np.diff(history) > -1e-7 * abs(history[:-1])).all()
    assert np.isfinite(model.score(X))
    assert model.aic(X) < model.bic(X)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_m_step_of_known_states_is_fit_supervised(family):
    truth = make(family, K=2, seed=5)
    truth.transmat_ = np.array([[0.8, 0.2], [0.3, 0.7]])
    X, states = truth.sample(400, random_state=2)
    model = make(family, K=2, seed=6, n_iter=100, random_state=0)
    model.fit_supervised(X, states, [100] * 4, smoothing=0.0)
    counts = np.zeros((2, 2))
    for t in range(399):
        if (t + 1) % 100:
            counts[states[t], states[t + 1]] += 1
    np.testing.assert_allclose(model.transmat_, counts / counts.sum(axis=1, keepdims=True))
    assert model.score(X) > truth.score(X) - 10
    for k in range(2):
        if hasattr(model, "lambdas_"):
            np.testing.assert_allclose(model.lambdas_[k], X[states == k].mean(axis=0))
        elif family.startswith("gaussian"):
            np.testing.assert_allclose(model.means_[k], X[states == k].mean(axis=0))
            if family == "gaussian full":
                about = np.cov(X[states == k].T, bias=True) + 0.01 / (states == k).sum()
                np.testing.assert_allclose(model.covars_[k], about)


def with_gap(family, X):
    """The data with row 3 missing, in the family's own way."""
    if family in ("categorical", "multinomial"):
        return np.ma.masked_array(X, mask=np.arange(len(X))[:, None] * np.ones_like(X) == 3)
    gap = X.astype(float)
    gap[3] = np.nan
    return gap


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_row_is_summed_out(family, backend):
    model = make(family)
    X, _ = model.sample(8, random_state=1)
    gap = with_gap(family, X)
    scores = model._compute_log_likelihood(np.asarray(X))
    scores[3] = 0.0
    with np.errstate(divide="ignore"):
        found = packed.log_partition(scores, np.log(model.transmat_), np.log(model.startprob_), None, np.array([8]))
    assert model.score(gap) == pytest.approx(found.sum())
    assert model.predict(gap).shape == (8,)
    changed = np.ma.getdata(gap).copy() if family in ("categorical", "multinomial") else X.copy()
    changed[3] = changed[0]
    first, second = make(family, n_iter=2, init_params=""), make(family, n_iter=2, init_params="")
    first.fit(gap)
    second.fit(with_gap(family, changed))
    assert first.score(X) == pytest.approx(second.score(X))  # what the gap hides does not matter


@pytest.mark.parametrize("family", ["categorical", "poisson", "gaussian diag", "gaussian full", "mixture diag"])
def test_known_states_are_kept_and_help(family):
    truth = make(family, K=2, seed=11)
    X, states = truth.sample(300, random_state=4)
    some = np.where(np.arange(300) % 5 == 0, states, -1)
    model = make(family, K=2, seed=1, random_state=0)
    for name in ("startprob_", "transmat_", "emissionprob_", "lambdas_", "means_", "_covars_", "covars_", "weights_"):
        vars(model).pop(name, None)
    model.fit(X, states=some)
    assert (model.predict(X) == states).mean() >= (truth.predict(X) == states).mean() - 0.1
    everything = make(family, K=2, seed=1, random_state=0, n_iter=1, init_params="").fit(X, states=states)
    counts = np.bincount(states[:-1] * 2 + states[1:], minlength=4).reshape(2, 2)
    np.testing.assert_allclose(everything.transmat_, counts / counts.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("family", ["categorical", "poisson", "gaussian diag", "mixture full"])
def test_online_em(family):
    truth = make(family, K=2, seed=7)
    X, _ = truth.sample(3000, random_state=4)
    once = make(family, K=2, seed=8, init_params="", n_iter=1).fit(X)
    online = make(family, K=2, seed=8, init_params="").partial_fit(X)
    assert online.score(X) == pytest.approx(once.score(X))  # the first block is one iteration
    for _ in range(4):
        for part in np.split(X, 10):
            online.partial_fit(part)
    assert online.score(X) > once.score(X)
    with pytest.raises(ShapeError, match="decay"):
        online.partial_fit(X, decay=0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_estimator_conventions(family):
    model = make(family, random_state=3)
    assert type(model)(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(tol=0.5).tol == 0.5
    assert "tol=0.5" in repr(model)
    with pytest.raises(ShapeError, match="no parameter 'colour'"):
        model.set_params(colour=1)
    X, _ = model.sample(5, random_state=0)
    assert pickle.loads(pickle.dumps(model)).score(X) == model.score(X)


def test_sklearn_clones_and_searches():
    base = pytest.importorskip("sklearn.base", reason="pip install scikit-learn")
    search = pytest.importorskip("sklearn.model_selection", reason="pip install scikit-learn")
    model = hmm.GaussianHMM(2, random_state=0)
    assert base.clone(model).get_params() == model.get_params()
    X = np.random.default_rng(0).normal(size=(60, 2))
    assert search.GridSearchCV(model, {"n_components": [1, 2]}, cv=2).fit(X).best_params_["n_components"] in (1, 2)


def test_unfitted_is_an_error_of_its_own():
    with pytest.raises(hmm.NotFittedError, match="startprob_ is not set"):
        hmm.GaussianHMM(2).score([[0.0]])


def test_the_end_distribution_makes_lengths_count():
    model = make("categorical", K=2, seed=1)
    model.endprob_ = np.array([0.5, 0.2])
    total = sum(math.exp(model.score(np.array(x))) for n in range(1, 6) for x in itertools.product(range(4), repeat=n))
    alive = model.startprob_ @ np.linalg.matrix_power((1 - model.endprob_)[:, None] * model.transmat_, 5)
    assert total == pytest.approx(1 - alive.sum())
    with pytest.warns(UserWarning, match=r"transmat_: nothing was counted for rows \[1\]"):
        model.fit_supervised([0, 1, 2, 0, 1], [0, 0, 1, 0, 1], [3, 2], smoothing=0.0)
    np.testing.assert_allclose(model.endprob_, [0.0, 1.0])
    model.endprob_ = [1.5, 0.0]
    with pytest.raises(ShapeError, match="endprob_"):
        model.score([0])


def test_an_unvisited_state_keeps_its_gaussian():
    model = make("gaussian diag", K=2, n_iter=1, init_params="")
    model.means_[1], model.startprob_, model.transmat_ = 1e6, np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.5, 0.5]])
    before = model.means_[1].copy(), model.covars_[1].copy()
    with pytest.warns(UserWarning, match="nothing was counted"):
        model.fit(np.random.default_rng(0).normal(size=(20, 2)))
    np.testing.assert_array_equal(model.means_[1], before[0])
    np.testing.assert_array_equal(model.covars_[1], before[1])


def test_far_from_zero_nothing_is_lost():
    X = np.random.default_rng(0).normal(scale=1e-3, size=(200, 2))
    near = hmm.GaussianHMM(1, "full", covars_prior=0, n_iter=2).fit(X)
    far = hmm.GaussianHMM(1, "full", covars_prior=0, n_iter=2).fit(X + 1e6)
    np.testing.assert_allclose(near.covars_, far.covars_, rtol=1e-5)


def test_stationary_distribution():
    model = make("poisson")
    found = model.get_stationary_distribution()
    np.testing.assert_allclose(found @ model.transmat_, found)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, np.nan], [0.0, 1.0]], "NaN in all columns"),
        ([[1.0, np.inf], [0.0, 1.0]], "finite"),
        ([1.0, 2.0], r"X must have shape \(n_samples, n_features\)"),
        ([["a", "b"]], "real numbers"),
        ([[1.0]], "must have 2 columns"),
        (np.full((2, 2), np.nan), "nothing but missing"),
    ],
)
def test_bad_rows(X, message):
    with pytest.raises(ShapeError, match=message):
        make("gaussian diag").score(X)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("amount", [math.nan, math.inf, -0.5, "1", None])
def test_smoothing_is_a_finite_number(family, amount):
    model = make(family, K=2)
    X, states = model.sample(9, random_state=0)
    with pytest.raises(ShapeError, match=r"^smoothing must be a number, 0 ≤ smoothing < inf, got"):
        model.fit_supervised(X, states, smoothing=amount)
    for name in ("start_smoothing", "transition_smoothing", "emission_smoothing"):
        if amount is not None:
            with pytest.raises(ShapeError, match=rf"^{name} must be a number"):
                model.fit_supervised(X, states, **{name: amount})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.sample(-1), "n_samples must be an integer, at least 1, got -1"),
        (lambda model: model.sample(0), "n_samples must be an integer, at least 1, got 0"),
        (lambda model: model.sample(2.0), "n_samples must be an integer, at least 1, got 2.0"),
        (lambda model: model.sample(3, currstate=9), "currstate must be an integer in 0 … 2, got 9"),
        (lambda model: model.sample(3, currstate=-1), "currstate must be an integer in 0 … 2, got -1"),
        (lambda model: model.decode_k_best(np.ones((2, D)), k=1.5), "k must be an integer, at least 1, got 1.5"),
        (lambda model: model.decode_k_best(np.ones((2, D)), k=0), "k must be an integer, at least 1, got 0"),
        (lambda model: model.score([[1.0, 2.0], [3.0]]), "X must be an array, got a list that is none"),
        (lambda model: model.bic([[1.0, 2.0], [3.0]]), "X must be an array, got a list that is none"),
        (lambda model: model.score(np.ones((2, D)), [[1], [1, 0]]), "lengths must be an array"),
        (lambda model: model.fit_supervised(np.ones((2, D)), [[1], [1, 0]]), "states must be an array"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ShapeError, match=message):
        call(make("gaussian diag"))


def test_ragged_symbols():
    with pytest.raises(ShapeError, match="X must be an array"):
        hmm.CategoricalHMM(2).fit([[0], [1, 0]])


@pytest.mark.parametrize("count", [2.0, "2", 0, True, None])
@pytest.mark.parametrize("kind", ["GaussianHMM", "PoissonHMM", "CategoricalHMM", "GMMHMM", "VariationalGaussianHMM"])
def test_the_number_of_states_is_an_integer(kind, count):
    X = np.arange(6)[:, None]
    with pytest.raises(ShapeError, match=r"n_components must be an integer, at least 1, got"):
        getattr(hmm, kind)(count).fit(X)
    with pytest.raises(ShapeError, match="n_iter must be an integer, at least 0, got"):
        hmm.PoissonHMM(2, n_iter=1.5).fit(X)
    with pytest.raises(ShapeError, match="n_mix must be an integer, at least 1, got"):
        hmm.GMMHMM(2, count).fit(X)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_that_are_none_or_no_numbers(family):
    for name in ("startprob_", "transmat_"):
        model = make(family)
        X, _ = model.sample(4, random_state=0)
        setattr(model, name, None)
        with pytest.raises(hmm.NotFittedError, match=f"{name} is not set"):
            model.score(X)
        setattr(model, name, [[1.0], [0.5, 0.5]])
        with pytest.raises(ShapeError, match=f"{name} must be an array of numbers"):
            model.score(X)
    own = {"poisson": "lambdas_", "gaussian": "means_", "mixture": "covars_"}.get(family.split()[0], "emissionprob_")
    model = make(family)
    for known in (getattr(model, "n_features", None), None):
        model.n_features = known
        setattr(model, own, None)
        with pytest.raises(hmm.NotFittedError, match=f"{own} is not set"):
            model.score(X)


def test_a_spherical_mixture_is_of_maximum_likelihood():
    """By hand: σ² = Σ |x − μ|² / (N D), whatever the number of components; hmmlearn divides by N D + D − n_mix."""
    X = np.random.default_rng(0).normal(size=(7, 3))
    single = hmm.GMMHMM(1, 1, covariance_type="spherical", n_iter=3, tol=-1.0, random_state=0).fit(X)
    np.testing.assert_allclose(single.covars_, ((X - X.mean(axis=0)) ** 2).mean())
    best = single.score(X)
    for factor in (0.99, 1.01):
        single.covars_ = single.covars_ * factor
        assert single.score(X) < best
        single.covars_ = single.covars_ / factor


@pytest.mark.parametrize(("kind", "covars"), [("spherical", 6), ("diag", 12), ("full", 18), ("tied", 6)])
def test_the_parameters_of_a_mixture_are_counted(kind, covars):
    model = hmm.GMMHMM(2, 3, covariance_type=kind, random_state=0, n_iter=1)
    X = np.random.default_rng(0).normal(size=(40, 2))
    model.fit(X)
    free = 1 + 2 + 12 + covars + 2 * (3 - 1)  # start, moves, means, covariances, weights of each state
    assert model.aic(X) == pytest.approx(2 * free - 2 * model.score(X))
    assert model.bic(X) == pytest.approx(math.log(40) * free - 2 * model.score(X))


@pytest.mark.parametrize("covars", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0]], [1.0, 2.0]])
def test_bad_covariances(covars):
    with pytest.raises(ShapeError, match="tied covars must"):
        hmm.GaussianHMM(2, "tied").covars_ = covars
