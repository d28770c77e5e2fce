"""Hidden Markov models that emit counts: `MultinomialHMM` and `PoissonHMM`, with hmmlearn's interface.

A row of observations is a (D,) vector x of counts. With γ_t(k) = P(z_t = k | x):

    multinomial   b(x | k) = n! / Π_d x_d! · Π_d p_kd^x_d           p_kd ∝ Σ_t γ_t(k) x_td
    Poisson       b(x | k) = Π_d λ_kd^x_d exp(−λ_kd) / x_d!         λ_kd = (α + Σ_t γ_t(k) x_td) / (β + Σ_t γ_t(k))
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm.base import Statistics
from seqlab.hmm.em import BaseHMM, kept, normalized
from seqlab.hmm.estimator import NotFittedError, Random, random_state
from seqlab.hmm.inputs import Floats, Ints, Mask, Observations, as_array, integer_rows, real_rows
from seqlab.hmm.special import gammaln

__all__ = ["MultinomialHMM", "PoissonHMM"]


def _counts_times_log(counts: NDArray[Any], rates: Floats) -> Floats:
    """Return Σ_d x_d log r_kd, (N, K), where 0 · log 0 is 0."""
    impossible = rates == 0
    products = counts @ np.log(np.where(impossible, 1.0, rates)).T
    if impossible.any():
        products[(counts @ impossible.T.astype(np.float64)) > 0] = -np.inf
    return np.asarray(products)


class MultinomialHMM(BaseHMM):
    """HMM whose states throw `n_trials` dice with D sides; an observation counts the sides.

    Args:
        n_components: K, the number of hidden states.
        n_trials: throws of each observation, a number or (n_samples,); None: what the training data show.
        startprob_prior: Dirichlet prior of the start, a number or (K,); 1 is flat.
        transmat_prior: the same for the transitions, a number or (K, K).
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the log-likelihood gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t" and "e".
        init_params: which parameters `fit` draws at random first.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_: (K,), sums to 1.
        transmat_: (K, K), each row sums to 1.
        emissionprob_: (K, D), each row sums to 1.
        monitor_: the `ConvergenceMonitor` of the last `fit`.
    """

    emissionprob_: Floats

    def __init__(
        self, n_components: int = 1, n_trials: Any = None, startprob_prior: Any = 1.0, transmat_prior: Any = 1.0,
        algorithm: str = "viterbi", random_state: Random = None, n_iter: int = 10, tol: float = 1e-2,
        verbose: bool = False, params: str = "ste", init_params: str = "ste", implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.n_trials = n_trials

    def _rows(self, X: ArrayLike) -> tuple[Ints, Mask | None]:
        return integer_rows(X, "n_features")

    def _check_values(self, X: NDArray[Any]) -> None:
        super()._check_and_set_n_features(X)
        if not np.issubdtype(X.dtype, np.integer) or X.min() < 0:
            raise ShapeError(f"Symbol counts should be nonnegative integers, got {X.dtype} from {X.min()}")

    def _check_and_set_n_features(self, X: NDArray[Any]) -> None:
        self._check_values(X)
        found = X.sum(axis=1)
        if self.n_trials is None:
            self.n_trials = found
        elif np.ndim(self.n_trials) and np.shape(self.n_trials) != found.shape:
            raise ShapeError(f"n_trials must be one number or {found.size}, got {np.shape(self.n_trials)}")
        elif not (found == self.n_trials).all():
            row = int((found != self.n_trials).argmax())
            raise ShapeError(f"each row of X must add up to n_trials, got {found[row]} in row {row}")

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        K, D = self.n_components, int(self.n_features or 0)  # states, sides
        return {"s": K - 1, "t": K * (K - 1), "e": K * (D - 1)}

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        super()._init(X, lengths)
        if self._needs_init("e", "emissionprob_"):
            drawn = random_state(self.random_state).rand(self.n_components, X.shape[1])
            self.emissionprob_ = drawn / drawn.sum(axis=1, keepdims=True)

    def _columns(self) -> int:
        return int(np.atleast_1d(as_array(getattr(self, "emissionprob_", [0]), "emissionprob_")).shape[-1])

    def _check(self) -> None:
        super()._check()
        D = getattr(self, "n_features", None) or self._columns()  # sides
        self._check_rows("emissionprob_", (self.n_components, D))
        self.n_features = D
        if self.n_trials is None:
            raise ShapeError("n_trials must be set, got None")

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        orders = gammaln(X.sum(axis=1) + 1.0) - gammaln(X + 1.0).sum(axis=1)  # (N,)
        return np.asarray(_counts_times_log(X, self.emissionprob_) + orders[:, None])

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        return {"obs": posteriors.T @ X}

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        if "e" in letters:
            self.emissionprob_ = normalized(stats["obs"], getattr(self, "emissionprob_", None), "emissionprob_")

    def _smooth(self, stats: Statistics, amount: Any) -> None:
        stats["obs"] = stats["obs"] + amount

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> Ints:
        trials = np.unique(self.n_trials)
        if trials.size != 1:
            raise ShapeError(f"n_trials must be one number for sampling, got {trials.size} different ones")
        return random_state.multinomial(int(trials[0]), self.emissionprob_[state])


class PoissonHMM(BaseHMM):
    """HMM whose states emit D independent Poisson counts.

    Args:
        n_components: K, the number of hidden states.
        startprob_prior: Dirichlet prior of the start, a number or (K,); 1 is flat.
        transmat_prior: the same for the transitions, a number or (K, K).
        lambdas_prior: α of the rates' gamma prior, a number or (K, D).
        lambdas_weight: β of the same. Each state weighs it against its own visits (hmmlearn: against all visits).
        algorithm: "viterbi" (best path) or "map" (best state at each step) for `decode` and `predict`.
        random_state: seed or numpy RandomState for the initial parameters and `sample`.
        n_iter: most iterations of `fit`.
        tol: `fit` stops when the log-likelihood gains less than this.
        verbose: whether `fit` reports each iteration.
        params: which parameters `fit` updates: any of "s", "t" and "l".
        init_params: which parameters `fit` draws at random first.
        implementation: accepted for hmmlearn's sake; the chain engine chooses scaling or logarithms itself.

    Attributes:
        startprob_: (K,), sums to 1.
        transmat_: (K, K), each row sums to 1.
        lambdas_: (K, D), the mean count of each feature.
        monitor_: the `ConvergenceMonitor` of the last `fit`.
    """

    lambdas_: Floats

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = 1.0, transmat_prior: Any = 1.0, lambdas_prior: Any = 0.0,
        lambdas_weight: Any = 0.0, algorithm: str = "viterbi", random_state: Random = None, n_iter: int = 10,
        tol: float = 1e-2, verbose: bool = False, params: str = "stl", init_params: str = "stl",
        implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.lambdas_prior, self.lambdas_weight = lambdas_prior, lambdas_weight

    def _rows(self, X: ArrayLike) -> tuple[Floats, Mask | None]:
        rows, missing = real_rows(X)
        if (rows < 0).any() or (rows != np.floor(rows)).any():
            raise ShapeError(f"X must hold counts, integers ≥ 0, got {rows[(rows < 0) | (rows != np.floor(rows))][0]}")
        return rows, missing

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        K, D = self.n_components, int(self.n_features or 0)  # states, features
        return {"s": K - 1, "t": K * (K - 1), "l": K * D}

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        super()._init(X, lengths)
        if self._needs_init("l", "lambdas_"):
            mean, variance = X.mean(), max(X.var(), 1e-3)  # a gamma with the moments of all counts
            drawn = random_state(self.random_state).gamma(
                mean**2 / variance, variance / max(mean, 1e-3), size=(self.n_components, X.shape[1])
            )
            self.lambdas_ = np.maximum(drawn, 1e-3)

    def _init_neutral(self, data: Observations) -> None:
        if not hasattr(self, "lambdas_"):
            self.lambdas_ = np.tile(data.present.mean(axis=0), (self.n_components, 1))

    def _check(self) -> None:
        super()._check()
        if getattr(self, "lambdas_", None) is None:
            raise NotFittedError("lambdas_ is not set: call fit, or set it")
        self.lambdas_ = np.atleast_2d(as_array(self.lambdas_, "lambdas_", np.float64))
        D = getattr(self, "n_features", None) or self.lambdas_.shape[1]  # features
        if self.lambdas_.shape != (self.n_components, D) or not (self.lambdas_ >= 0).all():
            raise ShapeError(f"lambdas_ must be ({self.n_components}, {D}) rates ≥ 0, got shape {self.lambdas_.shape}")
        self.n_features = D

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        constant = gammaln(X + 1.0).sum(axis=1)[:, None]  # (N, 1)
        return np.asarray(_counts_times_log(X, self.lambdas_) - self.lambdas_.sum(axis=1) - constant)

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        return {"post": posteriors.sum(axis=0), "obs": posteriors.T @ X}

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        if "l" in letters:
            visited = stats["post"] > 0
            total = np.where(visited, stats["post"], 1.0)[:, None]
            rates = (self.lambdas_prior + stats["obs"]) / (self.lambdas_weight + total)
            self.lambdas_ = kept(rates, self.lambdas_, visited, "lambdas_")

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> Any:
        return random_state.poisson(self.lambdas_[state])
