"""Hidden Markov model with Gaussian emissions and the interface of `hmmlearn.hmm.GaussianHMM`.

State k emits x ~ N(μ_k, Σ_k). With γ_t(k) = P(z_t = k | x) the M-step is that of a mixture (Bishop 2006, equations
13.20 and 13.21), with a normal prior of the means, N(m, Σ_k / w), and an inverse Wishart or gamma prior of Σ:

    μ_k = (w m + Σ_t γ_t(k) x_t) / (w + Σ_t γ_t(k))
    Σ_k = (prior + w (μ_k − m)(μ_k − m)ᵀ + Σ_t γ_t(k) (x_t − μ_k)(x_t − μ_k)ᵀ) / (weight + Σ_t γ_t(k))

Moments are taken about the mean of the data, so that little is lost where that is far from 0.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm import covariances
from seqlab.hmm.base import AbstractHMM, Statistics
from seqlab.hmm.em import BaseHMM, kept
from seqlab.hmm.estimator import NotFittedError, Random, random_state
from seqlab.hmm.inputs import Floats, Observations, as_array
from seqlab.hmm.kmeans import kmeans

__all__ = ["GaussianHMM", "Gaussians"]


class Gaussians(AbstractHMM):
    """What emitting from Gaussians means, whatever the training; `_covars_` has the shape of its kind."""

    _emits_densities = True
    covariance_type: str
    _covars_: Floats
    _centre: Floats  # (D,), where moments are taken

    @property
    def covars_(self) -> Floats:
        """The covariances as matrices, (K, D, D); assign them in the shape of `covariance_type`."""
        if not hasattr(self, "_covars_"):
            raise NotFittedError("covars_ is not set: call fit, or set it")
        return covariances.fill_covars(
            self._covars_, self.covariance_type, self.n_components, int(self.n_features or 1)
        )

    @covars_.setter
    def covars_(self, covars: ArrayLike) -> None:
        self._covars_ = covariances.checked_covars(covars, self.covariance_type, self.n_components)

    def _means(self) -> Floats:
        raise NotImplementedError

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        return covariances.log_density(X, self._means(), self._covars_, self.covariance_type)

    def _check_and_set_n_features(self, X: NDArray[Any]) -> None:
        super()._check_and_set_n_features(X)
        if not hasattr(self, "_centre") or self._centre.shape != X.shape[1:]:
            self._centre = covariances.column_sums(X) / len(X)

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        """Return Σ γ, Σ γ (x − c) and Σ γ (x − c)(x − c)ᵀ, c the centre."""
        sums, squares = covariances.weighted_moments(posteriors, X, self._centre, self.covariance_type)
        return {"post": covariances.column_sums(posteriors), "obs": sums, "obs2": squares}

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> Floats:
        return random_state.multivariate_normal(self._means()[state], self.covars_[state])


class GaussianHMM(Gaussians, BaseHMM):
    """HMM whose states emit from a Gaussian each.

    Args:
        n_components: K, the number of hidden states.
        covariance_type: "spherical", "diag", "full", or "tied" (one matrix for all states).
        min_covar: added to the variances that training starts from.
        startprob_prior: Dirichlet prior of the start, a number or (K,); 1 is flat.
        transmat_prior: the same for the transitions, a number or (K, K).
        means_prior: m, a number or (K, D).
        means_weight: w, how many observations the prior means count for.
        covars_prior: what is added to the scatter, a number or of the covariances' shape.
        covars_weight: 1 ("spherical", "diag") or D ("full", "tied") more than the observations it counts for.
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the log-likelihood gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t", "m" (means) and "c" (covariances).
        init_params: which parameters `fit` sets first: means by k-means, covariances from all data.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_: (K,), sums to 1.
        transmat_: (K, K), each row sums to 1.
        means_: (K, D).
        covars_: (K, D, D); assign (K,), (K, D), (K, D, D) or (D, D), as `covariance_type` says.
        monitor_: the `ConvergenceMonitor` of the last `fit`.
    """

    means_: Floats

    def __init__(
        self, n_components: int = 1, covariance_type: str = "diag", min_covar: float = 1e-3,
        startprob_prior: Any = 1.0, transmat_prior: Any = 1.0, means_prior: Any = 0, means_weight: Any = 0,
        covars_prior: Any = 1e-2, covars_weight: Any = 1, algorithm: str = "viterbi", random_state: Random = None,
        n_iter: int = 10, tol: float = 1e-2, verbose: bool = False, params: str = "stmc", init_params: str = "stmc",
        implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.covariance_type, self.min_covar = covariance_type, min_covar
        self.means_prior, self.means_weight = means_prior, means_weight
        self.covars_prior, self.covars_weight = covars_prior, covars_weight

    def _means(self) -> Floats:
        return self.means_

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        K, D = self.n_components, int(self.n_features or 0)  # states, features
        covars = {"spherical": K, "diag": K * D, "full": K * D * (D + 1) // 2, "tied": D * (D + 1) // 2}
        return {"s": K - 1, "t": K * (K - 1), "m": K * D, "c": covars[self.covariance_type]}

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        covariances.check_type(self.covariance_type)
        super()._init(X, lengths)
        self._centre = covariances.column_sums(X) / len(X)
        if self._needs_init("m", "means_"):
            self.means_ = kmeans(X, self.n_components, random_state(self.random_state)).centres
        if self._needs_init("c", "_covars_"):
            self._covars_ = self._overall_covars(X)

    def _overall_covars(self, X: Floats) -> Floats:
        covariance = covariances.data_covariance(X) + self.min_covar * np.eye(X.shape[1])
        return covariances.spread_covariance(covariance, self.covariance_type, self.n_components)

    def _init_neutral(self, data: Observations) -> None:
        X = data.present
        if not hasattr(self, "means_"):
            self.means_ = np.tile(X.mean(axis=0), (self.n_components, 1))
        if not hasattr(self, "_covars_"):
            self._covars_ = self._overall_covars(X)

    def _check(self) -> None:
        covariances.check_type(self.covariance_type)
        super()._check()
        for name in ("means_", "_covars_"):
            if getattr(self, name, None) is None:
                raise NotFittedError(f"{name.strip('_')}_ is not set: call fit, or set it")
        self.means_ = as_array(self.means_, "means_", np.float64)
        K, D = self.n_components, self.means_.shape[-1] if self.means_.ndim else 0  # states, features
        if self.means_.shape != (K, D) or not np.isfinite(self.means_).all():
            raise ShapeError(f"means_ must be ({K}, n_features) finite numbers, got shape {self.means_.shape}")
        shape = {"spherical": (K,), "diag": (K, D), "full": (K, D, D), "tied": (D, D)}[self.covariance_type]
        if self._covars_.shape != shape:
            raise ShapeError(f"covars_ must have shape {shape}, got {self._covars_.shape}")
        self.n_features = D

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        post, sums, weight = stats["post"], stats["obs"], self.means_weight
        prior = np.asarray(self.means_prior) - self._centre
        visited = post > 0
        if "m" in letters:
            total = np.where(visited, weight + post, 1.0)[:, None]
            self.means_ = kept((weight * prior + sums) / total + self._centre, self.means_, visited, "means_")
        if "c" not in letters:
            return
        means = self.means_ - self._centre
        spread, offset = covariances.scatter(stats["obs2"], sums, post, means), means - prior
        if self.covariance_type in ("spherical", "diag"):
            spread = spread + weight * offset**2 + self._covars_prior()
            fresh = spread / np.maximum(max(self.covars_weight - 1, 0) + post, 1e-5)[:, None]
            fresh = fresh.mean(axis=1) if self.covariance_type == "spherical" else fresh
        else:
            spread = spread + weight * offset[:, :, None] * offset[:, None, :]
            extra = max(self.covars_weight - means.shape[1], 0)
            if self.covariance_type == "tied":
                self._covars_ = (self.covars_prior + spread.sum(axis=0)) / (extra + post.sum())
                return
            fresh = (self.covars_prior + spread) / np.where(visited, extra + post, 1.0)[:, None, None]
        self._covars_ = kept(fresh, self._covars_, visited, "covars_")

    def _covars_prior(self) -> Floats:
        """Return the prior of variances so that it adds to (K, D): a spherical one is the same for all features."""
        prior = np.asarray(self.covars_prior, dtype=np.float64)
        return prior[:, None] if self.covariance_type == "spherical" and prior.ndim == 1 else prior
