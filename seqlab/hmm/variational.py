"""Variational Bayes for hidden Markov models (Beal 2003, chapter 3): distributions over the parameters themselves.

Each row θ of probabilities has a Dirichlet prior u and, in the approximation q(z) q(θ), a Dirichlet posterior
u + counts. The E-step replaces log θ_j by its mean

    log θ*_j = E log θ_j = ψ(w_j) − ψ(Σ_j w_j)                      w the posterior's parameters

whose exponentials sum to less than 1: a state that explains little loses more than its share and dies out. What
training raises is the bound log Z* − Σ KL(posterior ‖ prior) ≤ log p(x), Z* the chain's sum with these scores.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm.base import AbstractHMM, Statistics
from seqlab.hmm.categorical import Symbols
from seqlab.hmm.divergences import kl_dirichlet
from seqlab.hmm.estimator import NotFittedError, Random, random_state
from seqlab.hmm.inputs import Floats, as_array
from seqlab.hmm.special import digamma

__all__ = ["VariationalBaseHMM", "VariationalCategoricalHMM", "expected_log"]


def expected_log(parameters: Floats) -> Floats:
    """Return E log θ for rows of Dirichlet parameters."""
    return digamma(parameters) - digamma(parameters.sum(axis=-1, keepdims=True))


def _mean(parameters: Floats) -> Floats:
    mean: Floats = parameters / parameters.sum(axis=-1, keepdims=True)
    return mean


class VariationalBaseHMM(AbstractHMM):
    """Base of the variational models: posteriors of the initial distribution and of the transitions.

    After `fit`, `startprob_` and `transmat_` are the posteriors' means, with which scoring and decoding work.
    """

    startprob_prior_: Floats
    startprob_posterior_: Floats
    transmat_prior_: Floats
    transmat_posterior_: Floats

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = None, transmat_prior: Any = None,
        algorithm: str = "viterbi", random_state: Random = None, n_iter: int = 100, tol: float = 1e-6,
        verbose: bool = False, params: str = "ste", init_params: str = "ste", implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, algorithm, random_state, n_iter, tol, verbose, params, init_params,
                         implementation)  # fmt: skip
        self.startprob_prior, self.transmat_prior = startprob_prior, transmat_prior

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        self._check_and_set_n_features(X)
        sizes = np.atleast_1d(np.asarray(len(X) if lengths is None else lengths))
        random, K = random_state(self.random_state), self.n_components
        for code, name, shape, total in (
            ("s", "startprob", (K,), len(sizes)), ("t", "transmat", (K, K), sizes.sum() / K),
        ):  # fmt: skip
            if self._any_needs_init(code, f"{name}_posterior_", f"{name}_prior_"):
                given = getattr(self, f"{name}_prior")
                setattr(self, f"{name}_prior_", np.full(shape, 1 / K if given is None else given, dtype=np.float64))
                drawn = random.dirichlet(np.full(K, 1 / K), size=shape[:-1] or None)
                setattr(self, f"{name}_posterior_", drawn * total)
        self._warn_if_degenerate(X)

    def _any_needs_init(self, code: str, *names: str) -> bool:
        return sum(self._needs_init(code, name) for name in names) > 0  # each may have something to say

    def _require_fitted(self) -> None:
        super()._require_fitted()
        self._check()
        self._check_rows("startprob_", (self.n_components,))
        self._check_rows("transmat_", (self.n_components, self.n_components))

    def _check(self) -> None:
        self._check_sizes()
        K = self.n_components
        self._check_dirichlet("startprob", (K,))
        self._check_dirichlet("transmat", (K, K))

    def _check_dirichlet(self, name: str, shape: tuple[int, ...]) -> None:
        for kind in ("prior_", "posterior_"):
            full = f"{name}_{kind}"
            if getattr(self, full, None) is None:
                raise NotFittedError(f"{full} is not set: call fit, or set it")
            values = as_array(getattr(self, full), full, np.float64)
            if values.shape != shape or not (values > 0).all():
                raise ShapeError(f"{full} must be {shape} numbers above 0, got shape {values.shape}")
            setattr(self, full, values)

    def _fit_scores(self) -> tuple[Floats, Floats, Floats | None]:
        return expected_log(self.transmat_posterior_), expected_log(self.startprob_posterior_), None

    def _m_step(self, stats: Statistics, letters: str) -> None:
        if "s" in letters:
            self.startprob_posterior_ = self.startprob_prior_ + stats["start"]
        if "t" in letters:
            self.transmat_posterior_ = self.transmat_prior_ + stats["trans"]
        self.startprob_, self.transmat_ = _mean(self.startprob_posterior_), _mean(self.transmat_posterior_)
        self._m_step_emissions(stats, letters)

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        raise NotImplementedError

    def _lower_bound(self, log_prob: float) -> float:
        start = kl_dirichlet(self.startprob_posterior_, self.startprob_prior_)
        return log_prob - start - kl_dirichlet(self.transmat_posterior_, self.transmat_prior_)


class VariationalCategoricalHMM(Symbols, VariationalBaseHMM):
    """HMM whose states emit one of `n_features` symbols, trained by variational Bayes.

    Observations are one column of integers, (n_samples, 1) or (n_samples,).

    Args:
        n_components: K, the number of hidden states; those not needed fall back to the prior.
        startprob_prior: Dirichlet prior of the start, a number or (K,); None: 1/K.
        transmat_prior: the same for the transitions, a number or (K, K); None: 1/K.
        emissionprob_prior: the same for the emissions, a number or (K, n_features); None: 1/n_features.
        n_features: number of symbols; None: one more than the largest symbol seen in training.
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the bound gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t" and "e".
        init_params: which parameters `fit` draws at random first.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_prior_, startprob_posterior_: (K,).
        transmat_prior_, transmat_posterior_: (K, K).
        emissionprob_prior_, emissionprob_posterior_: (K, n_features).
        startprob_, transmat_, emissionprob_: the posteriors' means.
        monitor_: the `ConvergenceMonitor` of the last `fit`; its history is the bound.
    """

    emissionprob_prior_: Floats
    emissionprob_posterior_: Floats

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = None, transmat_prior: Any = None,
        emissionprob_prior: Any = None, n_features: int | None = None, algorithm: str = "viterbi",
        random_state: Random = None, n_iter: int = 100, tol: float = 1e-6, verbose: bool = False,
        params: str = "ste", init_params: str = "ste", implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.emissionprob_prior, self.n_features = emissionprob_prior, n_features

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        super()._init(X, lengths)
        K, M = self.n_components, int(self.n_features or 0)
        if self._needs_init("e", "emissionprob_posterior_"):
            given = 1 / M if self.emissionprob_prior is None else self.emissionprob_prior
            self.emissionprob_prior_ = np.full((K, M), given, dtype=np.float64)
            random = random_state(self.random_state)
            drawn = np.array([random.dirichlet(row) for row in self.emissionprob_prior_])
            self.emissionprob_posterior_ = np.maximum(drawn * len(X) / K, np.finfo(float).tiny)

    def _require_fitted(self) -> None:
        super()._require_fitted()
        self._check_rows("emissionprob_", (self.n_components, int(self.n_features or 0)))

    def _check(self) -> None:
        super()._check()
        if self.n_features is None and getattr(self, "emissionprob_posterior_", None) is not None:
            posterior = as_array(self.emissionprob_posterior_, "emissionprob_posterior_")
            self.n_features = np.atleast_1d(posterior).shape[-1]
        self._check_dirichlet("emissionprob", (self.n_components, int(self.n_features or 0)))

    def _fit_symbol_scores(self) -> Floats:
        return np.ascontiguousarray(expected_log(self.emissionprob_posterior_).T)

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        if "e" in letters:
            self.emissionprob_posterior_ = self.emissionprob_prior_ + stats["obs"]
        self.emissionprob_ = _mean(self.emissionprob_posterior_)

    def _lower_bound(self, log_prob: float) -> float:
        return super()._lower_bound(log_prob) - kl_dirichlet(self.emissionprob_posterior_, self.emissionprob_prior_)
