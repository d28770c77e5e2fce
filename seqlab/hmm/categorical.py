"""Hidden Markov model whose states emit one of M symbols, with the interface of `hmmlearn.hmm.CategoricalHMM`.

In state k symbol m appears with probability b(m | k) = `emissionprob_[k, m]`. The M-step (Rabiner 1989, equation
40c) counts how often each state is expected to show each symbol:

    b(m | k) ∝ Σ_{t: x_t = m} P(z_t = k | x) + prior − 1

Missing symbols are masked entries of a `numpy.ma` array. The counts are summed by symbol inside the chain's engine:
nothing of size n_samples × K is kept.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.chain import packed
from seqlab.errors import ShapeError
from seqlab.hmm.base import AbstractHMM, Statistics, draw
from seqlab.hmm.em import BaseHMM, normalized
from seqlab.hmm.estimator import Random, random_state
from seqlab.hmm.inputs import Floats, Ints, Mask, Observations, as_array, integer_rows

__all__ = ["CategoricalHMM", "Symbols"]


class Symbols(AbstractHMM):
    """What emitting symbols means, whatever the training."""

    emissionprob_: Floats
    n_features: int | None

    def _rows(self, X: ArrayLike) -> tuple[NDArray[Any], Mask | None]:
        return integer_rows(X, "1")

    def _check_and_set_n_features(self, X: NDArray[Any]) -> None:
        if not np.issubdtype(X.dtype, np.integer):
            raise ShapeError(f"Symbols should be integers, got {X.dtype}")
        if X.min() < 0:
            raise ShapeError(f"Symbols should be nonnegative, got {X.min()}: mask what is missing (numpy.ma)")
        if self.n_features is None:
            self.n_features = int(X.max()) + 1
        if X.max() >= self.n_features:
            raise ShapeError(
                f"Largest symbol is {X.max()} but the model only emits symbols up to {self.n_features - 1}: "
                "set n_features"
            )

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        K, M = self.n_components, int(self.n_features or 0)  # states, symbols
        return {"s": K - 1, "t": K * (K - 1), "e": K * (M - 1)}

    def _symbol_scores(self) -> Floats:
        """Return log b, (M, K)."""
        with np.errstate(divide="ignore"):
            return np.log(np.ascontiguousarray(self.emissionprob_.T))

    def _fit_symbol_scores(self) -> Floats:
        return self._symbol_scores()

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        return np.asarray(self._symbol_scores()[X[:, 0]])

    def _fit_log_likelihood(self, X: NDArray[Any]) -> Floats:
        return np.asarray(self._fit_symbol_scores()[X[:, 0]])

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        M = int(self.n_features or 0)  # symbols
        columns = [np.bincount(X[:, 0], weights=column, minlength=M) for column in posteriors.T]
        return {"obs": np.array(columns)}

    def _e_step(self, data: Observations) -> tuple[float, Statistics]:
        if data.states is not None:
            return super()._e_step(data)
        symbols, table = _with_blank(data, self._fit_symbol_scores())
        counts = packed.symbol_counts(symbols, table, *self._fit_scores(), data.sizes)
        emitted = np.ascontiguousarray(counts.emissions[: self.n_features].T)
        stats = {"start": counts.starts, "trans": counts.transitions, "end": counts.ends, "obs": emitted}
        return float(counts.log_partition.sum()), stats

    def _best_path(self, data: Observations) -> packed.PackedPath:
        symbols, table = _with_blank(data, self._symbol_scores())
        return packed.symbol_viterbi(symbols, table, *self._chain_scores(), data.sizes, last_wins=True)

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> list[int]:
        return [draw(self.emissionprob_[state].cumsum(), random_state)]


def _with_blank(data: Observations, table: Floats) -> tuple[Ints, Floats]:
    """Return the symbols and their table, with a last symbol that tells nothing where one is missing."""
    symbols = data.values[:, 0]
    if data.missing is None:
        return symbols, table
    return np.where(data.missing, len(table), symbols), np.vstack([table, np.zeros(table.shape[1])])


class CategoricalHMM(Symbols, BaseHMM):
    """HMM whose states emit one of `n_features` symbols.

    Observations are one column of integers, (n_samples, 1) or (n_samples,).

    Args:
        n_components: K, the number of hidden states.
        startprob_prior: Dirichlet prior of the start, a number or (K,); 1 is flat.
        transmat_prior: the same for the transitions, a number or (K, K).
        emissionprob_prior: the same for the emissions, a number or (K, n_features).
        n_features: number of symbols; None: one more than the largest symbol seen in training.
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
        emissionprob_: (K, n_features), each row sums to 1.
        monitor_: the `ConvergenceMonitor` of the last `fit`.
    """

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = 1.0, transmat_prior: Any = 1.0, *,
        emissionprob_prior: Any = 1.0, n_features: int | None = None, algorithm: str = "viterbi",
        random_state: Random = None, n_iter: int = 10, tol: float = 1e-2, verbose: bool = False,
        params: str = "ste", init_params: str = "ste", implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, startprob_prior, transmat_prior, algorithm, random_state, n_iter, tol,
                         verbose, params, init_params, implementation)  # fmt: skip
        self.emissionprob_prior, self.n_features = emissionprob_prior, n_features

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        super()._init(X, lengths)
        if self._needs_init("e", "emissionprob_"):
            drawn = random_state(self.random_state).rand(self.n_components, int(self.n_features or 0))
            self.emissionprob_ = drawn / drawn.sum(axis=1, keepdims=True)

    def _check(self) -> None:
        super()._check()
        if self.n_features is None and getattr(self, "emissionprob_", None) is not None:
            self.n_features = np.atleast_1d(as_array(self.emissionprob_, "emissionprob_")).shape[-1]
        self._check_rows("emissionprob_", (self.n_components, int(self.n_features or 0)))

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        if "e" in letters:
            counts = np.maximum(np.asarray(self.emissionprob_prior) - 1.0 + stats["obs"], 0.0)
            self.emissionprob_ = normalized(counts, getattr(self, "emissionprob_", None), "emissionprob_")

    def _smooth(self, stats: Statistics, amount: Any) -> None:
        stats["obs"] = stats["obs"] + amount
