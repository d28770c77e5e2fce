"""Variational Bayes for hidden Markov models with Gaussian emissions (McGrory and Titterington 2009).

The mean and precision of state k have a normal-Wishart prior; their posterior, with the expected counts N_k = Σ γ,

    Λ_k ~ W(ν_k, S_k⁻¹)         ν_k = ν₀ + N_k         S_k = S₀ + Σ γ x xᵀ + β₀ m₀ m₀ᵀ − β_k m_k m_kᵀ
    μ_k | Λ_k ~ N(m_k, (β_k Λ_k)⁻¹)      β_k = β₀ + N_k        m_k = (β₀ m₀ + Σ γ x) / β_k

is Bishop's (2006) 10.60 to 10.63. "tied" states share ν and S; for "diag" and "spherical" only S's diagonal counts.
"""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm import covariances, divergences
from seqlab.hmm.base import Statistics
from seqlab.hmm.estimator import NotFittedError, Random, random_state
from seqlab.hmm.gaussian import Gaussians
from seqlab.hmm.inputs import Floats, as_array
from seqlab.hmm.kmeans import Clusters, kmeans
from seqlab.hmm.special import digamma
from seqlab.hmm.variational import VariationalBaseHMM

__all__ = ["VariationalGaussianHMM"]

# What S₀ and the first covariances have on their diagonal at least.
SMALL_SCALE = 1e-3


class VariationalGaussianHMM(Gaussians, VariationalBaseHMM):
    """HMM whose states emit from a Gaussian each, trained by variational Bayes.

    Args:
        n_components: K, the number of hidden states; those not needed fall back to the prior.
        covariance_type: "spherical", "diag", "full", or "tied" (one matrix for all states).
        startprob_prior: Dirichlet prior of the start, a number or (K,); None: 1/K.
        transmat_prior: the same for the transitions, a number or (K, K); None: 1/K.
        means_prior: m₀, (K, D); None: the mean of the data.
        beta_prior: β₀, (K,); None: 1.
        dof_prior: ν₀, (K,), or a number for "tied"; None: D.
        scale_prior: S₀, in the covariances' shape; None: small.
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the bound gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t", "m" (means) and "c" (covariances).
        init_params: which parameters `fit` sets first.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_prior_, startprob_posterior_: (K,).
        transmat_prior_, transmat_posterior_: (K, K).
        means_prior_, means_posterior_: (K, D).
        beta_prior_, beta_posterior_: (K,).
        dof_prior_, dof_posterior_: (K,), or a number for "tied".
        scale_prior_, scale_posterior_: (K,), (K, D), (K, D, D) or (D, D), as `covariance_type` says.
        startprob_, transmat_, means_: the posteriors' means; covars_: S / ν as matrices.
        monitor_: the `ConvergenceMonitor` of the last `fit`; its history is the bound.
    """

    means_prior_: Floats
    means_posterior_: Floats
    beta_prior_: Floats
    beta_posterior_: Floats
    dof_prior_: Any
    dof_posterior_: Any
    scale_prior_: Floats
    scale_posterior_: Floats

    def __init__(
        self, n_components: int = 1, covariance_type: str = "full", startprob_prior: Any = None,
        transmat_prior: Any = None, means_prior: Any = None, beta_prior: Any = None, dof_prior: Any = None,
        scale_prior: Any = None, algorithm: str = "viterbi", random_state: Random = None, n_iter: int = 100,
        tol: float = 1e-6, verbose: bool = False, params: str = "stmc", init_params: str = "stmc",
        implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.covariance_type, self.means_prior, self.beta_prior = covariance_type, means_prior, beta_prior
        self.dof_prior, self.scale_prior = dof_prior, scale_prior

    @property
    def means_(self) -> Floats:
        """The posterior means of the means, (K, D)."""
        return self.means_posterior_

    def _means(self) -> Floats:
        return self.means_posterior_

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        covariances.check_type(self.covariance_type)
        K, D = self.n_components, int(self.n_features or 0)  # states, features
        matrix = D * (D + 1) // 2
        covars = {"spherical": 2 * K, "diag": K + K * D, "full": K + K * matrix, "tied": 1 + matrix}
        return {"s": K - 1, "t": K * (K - 1), "m": K * D + K, "c": covars[self.covariance_type]}

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        covariances.check_type(self.covariance_type)
        super()._init(X, lengths)
        self._centre = covariances.column_sums(X) / len(X)
        for_means = self._any_needs_init("m", "means_prior_", "means_posterior_", "beta_prior_", "beta_posterior_")
        for_covars = self._any_needs_init("c", "dof_prior_", "dof_posterior_", "scale_prior_", "scale_posterior_")
        if for_means or for_covars:
            clusters = kmeans(X, self.n_components, random_state(self.random_state))
            if for_means:
                self._init_means(X, clusters)
            if for_covars:
                self._init_covars(X, clusters)

    def _init_means(self, X: Floats, clusters: Clusters) -> None:
        K = self.n_components
        given, strength = self.means_prior, self.beta_prior
        self.means_prior_ = np.tile(X.mean(axis=0), (K, 1)) if given is None else given
        self.beta_prior_ = np.ones(K) if strength is None else strength
        self.means_posterior_ = clusters.centres.copy()
        self.beta_posterior_ = np.bincount(clusters.labels, minlength=K).astype(np.float64)

    def _init_covars(self, X: Floats, clusters: Clusters) -> None:
        K, D = self.n_components, X.shape[1]
        tied = self.covariance_type == "tied"
        sizes = np.bincount(clusters.labels, minlength=K).astype(np.float64)
        if self.dof_prior is None:
            self.dof_prior_ = float(D) if tied else np.full(K, float(D))
        else:
            self.dof_prior_ = self.dof_prior
        self.dof_posterior_ = float(sizes.sum()) if tied else np.maximum(sizes, D)
        covariance = covariances.data_covariance(X) + SMALL_SCALE * np.eye(D)
        self._covars_ = covariances.spread_covariance(covariance, self.covariance_type, K)
        small = covariances.spread_covariance(SMALL_SCALE * np.eye(D), self.covariance_type, K)
        self.scale_prior_ = small if self.scale_prior is None else self.scale_prior
        self.scale_posterior_ = self._covars_ * _along(self.dof_posterior_, self._covars_)

    def _check(self) -> None:
        covariances.check_type(self.covariance_type)
        K, D = (
            self.n_components,
            int(getattr(self, "n_features", None) or np.shape(self._fitted("means_posterior_"))[-1]),
        )
        self.n_features = D
        scale = {"spherical": (K,), "diag": (K, D), "full": (K, D, D), "tied": (D, D)}[self.covariance_type]
        dof: tuple[int, ...] = () if self.covariance_type == "tied" else (K,)
        for name, shape in (("means", (K, D)), ("beta", (K,)), ("dof", dof), ("scale", scale)):
            for kind in ("prior_", "posterior_"):
                full = f"{name}_{kind}"
                values = as_array(self._fitted(full), full, np.float64)
                if values.shape != shape:
                    raise ShapeError(f"{full} must have shape {shape}, got {values.shape}")
                number = name == "dof" and isinstance(getattr(self, full), numbers.Number)
                setattr(self, full, float(values) if number else values)
        super()._check()

    def _fitted(self, name: str) -> Any:
        if getattr(self, name, None) is None:
            raise NotFittedError(f"{name} is not set: call fit, or set it")
        return getattr(self, name)

    def _fit_log_likelihood(self, X: NDArray[Any]) -> Floats:
        """Return E log b(x | k) but for its constant (Bishop 2006, 10.64 and 10.65).

        ½ (E log |Λ_k| − D / β_k − ν_k (x − m_k)ᵀ S_k⁻¹ (x − m_k))
        """
        D, dof = X.shape[1], np.atleast_1d(self.dof_posterior_)
        spread = covariances.fill_covars(self.scale_posterior_, self.covariance_type, self.n_components, D)
        digammas = digamma((dof - np.arange(D)[:, None]) / 2.0).sum(axis=0)
        log_precision = digammas + D * np.log(2.0) - np.linalg.slogdet(spread)[1]
        covars = self.scale_posterior_ / _along(self.dof_posterior_, self.scale_posterior_)
        distances = covariances.mahalanobis(X, self.means_posterior_, covars, self.covariance_type)
        return np.asarray(0.5 * (log_precision - D / self.beta_posterior_ - distances))

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        post, prior = stats["post"], self.means_prior_ - self._centre
        if "m" in letters:
            self.beta_posterior_ = self.beta_prior_ + post
            weighed = self.beta_prior_[:, None] * prior + stats["obs"]
            self.means_posterior_ = weighed / self.beta_posterior_[:, None] + self._centre
        if "c" in letters:
            means = self.means_posterior_ - self._centre
            before, after = self.beta_prior_[:, None] * prior, self.beta_posterior_[:, None] * means
            if self.covariance_type in ("spherical", "diag"):
                spread = stats["obs2"] + before * prior - after * means
                spread = spread.mean(axis=1) if self.covariance_type == "spherical" else spread
            else:
                spread = stats["obs2"] + before[:, :, None] * prior[:, None, :] - after[:, :, None] * means[:, None, :]
                spread = spread.sum(axis=0) if self.covariance_type == "tied" else spread
            self.scale_posterior_ = self.scale_prior_ + spread
            self.dof_posterior_ = self.dof_prior_ + (post.sum() if self.covariance_type == "tied" else post)
        self._covars_ = self.scale_posterior_ / _along(self.dof_posterior_, self.scale_posterior_)

    def _lower_bound(self, log_prob: float) -> float:
        K, D = self.means_posterior_.shape
        tied = self.covariance_type == "tied"
        scales, priors = (
            covariances.fill_covars(scale, self.covariance_type, K, D)
            for scale in (self.scale_posterior_, self.scale_prior_)
        )
        dofs, dof_priors = (np.broadcast_to(dof, K) for dof in (self.dof_posterior_, self.dof_prior_))
        bound = super()._lower_bound(log_prob)
        for k in range(K):
            covariance = scales[k] / dofs[k]
            bound -= divergences.kl_multivariate_normal_distribution(
                self.means_posterior_[k], covariance / self.beta_posterior_[k],
                self.means_prior_[k], covariance / self.beta_prior_[k],
            )  # fmt: skip
            if k == 0 or not tied:
                bound -= divergences.kl_wishart_distribution(dofs[k], scales[k], dof_priors[k], priors[k])
        return bound


def _along(dof: Any, covars: Floats) -> Any:
    """Return degrees of freedom so that they divide covariances: a number, or one for each first index."""
    return dof if np.ndim(dof) == 0 else np.asarray(dof).reshape((-1,) + (1,) * (covars.ndim - 1))
