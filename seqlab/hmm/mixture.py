"""Hidden Markov model whose states emit from mixtures of Gaussians, with the interface of `hmmlearn.hmm.GMMHMM`.

    b(x | k) = Σ_m w_km N(x; μ_km, Σ_km)

The E-step splits each state's posterior among its components, γ_t(k, m) = γ_t(k) w_km N(x_t; μ_km, Σ_km) / b(x_t | k)
(Rabiner 1989, equation 54); the M-step is a mixture's with these weights (equations 52 and 53; Bishop 2006, 9.24 to
9.26), with conjugate priors: Dirichlet for w, normal for μ, inverse gamma or Wishart for Σ, flat by default. Like
hmmlearn's it finds Σ given the means so far and then the means (Meng and Rubin's ECM, 1993), which never loses either.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm import covariances
from seqlab.hmm.base import Statistics
from seqlab.hmm.em import BaseHMM, kept
from seqlab.hmm.estimator import NotFittedError, Random, random_state
from seqlab.hmm.inputs import Floats, Ints, Observations, as_array, check_integer
from seqlab.hmm.kmeans import kmeans

__all__ = ["GMMHMM"]


class _Priors(NamedTuple):
    """The priors in full shape: K states, M components, D features."""

    weights: Floats  # (K, M), Dirichlet
    means: Floats  # (K, M, D)
    means_weight: Floats  # (K, M)
    covars: Any  # broadcasts against the covariances
    covars_weight: Any


class GMMHMM(BaseHMM):
    """HMM whose states emit from a mixture of Gaussians each.

    Two numbers differ from hmmlearn 0.3.3 on purpose. The M-step of a "spherical" variance divides the squared
    distances by N D + D + 2 (α + 1), N the expected visits; its flat prior is α = −(D + 2) / 2, which leaves the
    maximum likelihood's N D. hmmlearn has n_mix in the place of D there, and divides by N D + D − n_mix. And `aic` and
    `bic` count M − 1 free weights for each of the K states, where hmmlearn counts M − 1 for all of them.

    Args:
        n_components: K, the number of hidden states.
        n_mix: M, the number of Gaussians of each state.
        min_covar: added to the variances that training starts from.
        startprob_prior: Dirichlet prior of the start, a number or (K,); 1 is flat.
        transmat_prior: the same for the transitions, a number or (K, K).
        weights_prior: the same for the mixture weights, a number or (K, M).
        means_prior: mean of the means' normal prior, a number or (K, M, D).
        means_weight: how many observations it counts for, a number or (K, M).
        covars_prior: α of the inverse gamma prior of variances, or the scale of the inverse Wishart; None: flat.
        covars_weight: β of the inverse gamma prior, or the degrees of freedom of the Wishart; None: flat.
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        covariance_type: "spherical", "diag", "full", or "tied" (one matrix for all Gaussians of a state).
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the log-likelihood gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t", "m" (means), "c" (covariances) and "w" (weights).
        init_params: which parameters `fit` sets first.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_: (K,), sums to 1.
        transmat_: (K, K), each row sums to 1.
        weights_: (K, M), each row sums to 1.
        means_: (K, M, D).
        covars_: (K, M), (K, M, D), (K, M, D, D) or (K, D, D), as `covariance_type` says in the order above.
        monitor_: the `ConvergenceMonitor` of the last `fit`.
    """

    _emits_densities = True
    weights_: Floats
    means_: Floats
    covars_: Floats
    _centre: Floats

    def __init__(
        self, n_components: int = 1, n_mix: int = 1, min_covar: float = 1e-3, startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0, weights_prior: Any = 1.0, means_prior: Any = 0.0, means_weight: Any = 0.0,
        covars_prior: Any = None, covars_weight: Any = None, algorithm: str = "viterbi",
        covariance_type: str = "diag", random_state: Random = None, n_iter: int = 10, tol: float = 1e-2,
        verbose: bool = False, params: str = "stmcw", init_params: str = "stmcw", implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.n_mix, self.min_covar, self.covariance_type = n_mix, min_covar, covariance_type
        self.weights_prior, self.means_prior, self.means_weight = weights_prior, means_prior, means_weight
        self.covars_prior, self.covars_weight = covars_prior, covars_weight

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        K, M, D = self.n_components, self.n_mix, int(self.n_features or 0)
        matrix = D * (D + 1) // 2
        covars = {"spherical": K * M, "diag": K * M * D, "full": K * M * matrix, "tied": K * matrix}
        return {"s": K - 1, "t": K * (K - 1), "m": K * M * D, "c": covars[self.covariance_type], "w": K * (M - 1)}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        K, M, D = self.n_components, self.n_mix, int(self.n_features or 0)
        return {"spherical": (K, M), "diag": (K, M, D), "full": (K, M, D, D), "tied": (K, D, D)}

    def _check_and_set_n_features(self, X: NDArray[Any]) -> None:
        super()._check_and_set_n_features(X)
        if not hasattr(self, "_centre") or self._centre.shape != X.shape[1:]:
            self._centre = covariances.column_sums(X) / len(X)

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        covariances.check_type(self.covariance_type)
        super()._init(X, lengths)
        self._centre = covariances.column_sums(X) / len(X)
        if self._needs_init("w", "weights_"):
            self.weights_ = np.full((self.n_components, self.n_mix), 1 / self.n_mix)
        if self._needs_init("m", "means_"):
            clusters = kmeans(X, self.n_components, random_state(self.random_state))
            self.means_ = self._means_of_clusters(X, clusters.labels)
        if self._needs_init("c", "covars_"):
            self.covars_ = self._initial_covars(X)

    def _overall_covariance(self, X: Floats) -> Floats:
        return covariances.data_covariance(X) + self.min_covar * np.eye(X.shape[1])

    def _means_of_clusters(self, X: Floats, labels: Ints) -> Floats:
        """Cluster each state's rows into M components; a state with fewer rows draws about the states' means."""
        random, K, M = random_state(self.random_state), self.n_components, self.n_mix
        groups = [X[labels == k] for k in range(K)]
        middle = np.mean([rows.mean(axis=0) for rows in groups if len(rows)], axis=0)
        return np.array(
            [
                kmeans(rows, M, random).centres
                if len(rows) >= M
                else random.multivariate_normal(middle, self._overall_covariance(X), M)
                for rows in groups
            ]
        )

    def _initial_covars(self, X: Floats) -> Floats:
        covariance = self._overall_covariance(X)
        shape = self._shapes()[self.covariance_type]
        if self.covariance_type == "spherical":
            return np.full(shape, covariance.diagonal().mean())
        start = covariance.diagonal() if self.covariance_type == "diag" else covariance
        return np.broadcast_to(start, shape).copy()

    def _init_neutral(self, data: Observations) -> None:
        assert data.states is not None
        X, states = data.present, data.states if data.missing is None else data.states[~data.missing]
        if not hasattr(self, "weights_"):
            self.weights_ = np.full((self.n_components, self.n_mix), 1 / self.n_mix)
        self._centre, self.covars_ = covariances.column_sums(X) / len(X), self._initial_covars(X)
        self.means_ = self._means_of_clusters(X, states)

    def _supervised_rounds(self) -> int:
        return self.n_iter

    def _check_sizes(self) -> None:
        super()._check_sizes()
        check_integer(self.n_mix, "n_mix", 1)

    def _check(self) -> None:
        covariances.check_type(self.covariance_type)
        super()._check()
        K, M = self.n_components, self.n_mix
        for name in ("means_", "covars_"):
            if getattr(self, name, None) is None:
                raise NotFittedError(f"{name} is not set: call fit, or set it")
            setattr(self, name, as_array(getattr(self, name), name, np.float64))
        self._check_rows("weights_", (K, M))
        if getattr(self, "n_features", None) is None:
            self.n_features = self.means_.shape[-1]
        shapes = {"means_": (K, M, self.n_features), "covars_": self._shapes()[self.covariance_type]}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape or not np.isfinite(values).all():
                raise ShapeError(f"{name} must be {shape} finite numbers, got shape {values.shape}")
        if self.covariance_type in ("spherical", "diag"):
            if (self.covars_ < 0).any():
                raise ShapeError(f"covars_ must not be negative, got {self.covars_.min()}")
        elif not np.allclose(self.covars_, self.covars_.swapaxes(-1, -2)):
            raise ShapeError("covars_ must be symmetric matrices, got one that is not")
        elif np.linalg.eigvalsh(self.covars_).min() < -covariances.JITTER:
            raise ShapeError(
                f"covars_ must be positive definite, got eigenvalue {np.linalg.eigvalsh(self.covars_).min()}"
            )

    def _component_log_likelihood(self, X: Floats) -> Floats:
        """Return log w_km + log N(x_n; μ_km, Σ_km), (N, K, M)."""
        K, M, D = self.means_.shape
        covars, kind = self.covars_, self.covariance_type
        if kind == "tied":
            covars, kind = np.repeat(covars, M, axis=0), "full"
        elif kind == "full":
            covars = covars.reshape(K * M, D, D)
        else:
            covars = covars.reshape(K * M, -1) if kind == "diag" else covars.reshape(K * M)
        densities = covariances.log_density(X, self.means_.reshape(K * M, D), covars, kind)
        with np.errstate(divide="ignore"):
            return densities.reshape(-1, K, M) + np.log(self.weights_)

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        return _log_sum(self._component_log_likelihood(X))[..., 0]

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        parts = self._component_log_likelihood(X)
        _, K, M = parts.shape
        total = _log_sum(parts)
        with np.errstate(under="ignore"):
            shares = np.exp(parts - np.where(np.isfinite(total), total, 0.0))  # (N, K, M)
            weights = (shares * posteriors[:, :, None]).reshape(-1, K * M)
        sums, second = covariances.weighted_moments(weights, X, self._centre, self.covariance_type)
        return {
            "mix": weights.sum(axis=0).reshape(K, M),
            "obs": sums.reshape(K, M, -1),
            "obs2": second.reshape(K, M, *second.shape[1:]),
        }

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        mix, priors = stats["mix"], self._priors()
        visited = mix > 0
        if "w" in letters:
            counts = np.maximum(mix + priors.weights - 1.0, 0.0)
            total = counts.sum(axis=1, keepdims=True)
            fresh = counts / np.where(total > 0, total, 1.0)
            self.weights_ = kept(fresh, self.weights_, (total > 0)[:, 0], "weights_")
        if "c" in letters:
            self.covars_ = self._covars(stats, priors)
        if "m" in letters:
            total = np.where(visited, mix + priors.means_weight, 1.0)[..., None]
            means = (priors.means_weight[..., None] * (priors.means - self._centre) + stats["obs"]) / total
            self.means_ = np.where(visited[..., None], means + self._centre, self.means_)

    def _covars(self, stats: Statistics, priors: _Priors) -> Floats:
        """Return the covariances' update: scatter about the means, and about the prior means, with the prior."""
        K, M, D = self.means_.shape
        mix, means = stats["mix"], (self.means_ - self._centre).reshape(K * M, D)
        second = stats["obs2"].reshape(K * M, *stats["obs2"].shape[2:])
        spread = covariances.scatter(second, stats["obs"].reshape(K * M, D), mix.reshape(-1), means)
        spread = spread.reshape(stats["obs2"].shape)  # (K, M, D) or (K, M, D, D)
        offset, strength, visited = self.means_ - priors.means, priors.means_weight[..., None], mix > 0
        if self.covariance_type in ("spherical", "diag"):
            spread = spread + strength * offset**2
            if self.covariance_type == "spherical":
                total = D * (mix + 1.0) + 2.0 * (priors.covars + 1.0)
                fresh = spread.sum(axis=-1) + 2.0 * priors.covars_weight
            else:
                total = mix[..., None] + 1.0 + 2.0 * (priors.covars + 1.0)
                fresh = spread + 2.0 * priors.covars_weight
            enough = visited.reshape(visited.shape + (1,) * (fresh.ndim - 2)) & (total > 0)
            return np.where(enough, fresh / np.where(enough, total, 1.0), self.covars_)
        spread = spread + (strength * offset)[..., :, None] * offset[..., None, :]
        if self.covariance_type == "tied":
            totals = mix.sum(axis=1) + M + priors.covars_weight + D + 1.0  # (K,)
            spread = spread.sum(axis=1)
        else:
            totals = mix + priors.covars_weight + D + 2.0  # (K, M)
        positive = np.asarray((spread.diagonal(axis1=-2, axis2=-1) > 0).all(axis=-1))
        enough = (positive & (totals > 0))[..., None, None]
        fresh = (spread + priors.covars) / np.where(enough, totals[..., None, None], 1.0)
        return np.where(enough, fresh, self.covars_)

    def _priors(self) -> _Priors:
        """Return the priors; those of the covariances are flat where None."""
        K, M, D = self.means_.shape
        kind, scale, weight = self.covariance_type, self.covars_prior, self.covars_weight
        if scale is None:
            scale = {"full": 0.0, "tied": 0.0, "diag": -1.5, "spherical": -(D + 2.0) / 2.0}[kind]
        if weight is None:
            weight = {"full": -(D + 2.0), "tied": -(M + D + 1.0), "diag": 0.0, "spherical": 0.0}[kind]
        return _Priors(
            np.broadcast_to(self.weights_prior, (K, M)),
            np.broadcast_to(self.means_prior, (K, M, D)),
            np.broadcast_to(self.means_weight, (K, M)),
            np.asarray(scale, dtype=np.float64),
            np.asarray(weight, dtype=np.float64),
        )

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> Floats:
        m = int(random_state.choice(self.n_mix, p=self.weights_[state]))
        means = self.means_[state, m]
        if self.covariance_type == "tied":
            return random_state.multivariate_normal(means, self.covars_[state])
        covars = self.covars_[state, m]
        matrix = covars if self.covariance_type == "full" else covars * np.eye(means.size)
        return random_state.multivariate_normal(means, matrix)


def _log_sum(parts: Floats) -> Floats:
    """Return log Σ_m exp over the last axis, which stays with size 1."""
    top = parts.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", under="ignore"):
        return np.asarray(np.log(np.exp(parts - top).sum(axis=-1, keepdims=True)) + top)
