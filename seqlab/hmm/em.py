"""Training by expectation–maximisation (Baum–Welch): from observations alone, from known states, or as data arrive."""

import string
import warnings
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError
from seqlab.hmm.base import AbstractHMM, Statistics
from seqlab.hmm.estimator import Random, random_state
from seqlab.hmm.inputs import Floats, Observations, check_smoothing

__all__ = ["BaseHMM", "kept", "normalized"]


class _Online(NamedTuple):
    """Running means of the statistics: per sequence for "start" and "end", per step for the rest."""

    means: Statistics
    updates: int
    sequences: int
    steps: int


class BaseHMM(AbstractHMM):
    """Base of the models trained by EM: the initial distribution and the transitions, whatever is emitted."""

    _online: _Online | None = None

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = 1.0, transmat_prior: Any = 1.0,
        algorithm: str = "viterbi", random_state: Random = None, n_iter: int = 10, tol: float = 1e-2,
        verbose: bool = False, params: str = string.ascii_letters, init_params: str = string.ascii_letters,
        implementation: str = "log",
    ) -> None:  # fmt: skip
        super().__init__(n_components, algorithm, random_state, n_iter, tol, verbose, params, init_params,
                         implementation)  # fmt: skip
        self.startprob_prior, self.transmat_prior = startprob_prior, transmat_prior

    def fit_supervised(
        self, X: ArrayLike, states: ArrayLike, lengths: ArrayLike | None = None, *, smoothing: float = 1.0,
        start_smoothing: float | None = None, transition_smoothing: float | None = None,
        emission_smoothing: float | None = None,
    ) -> Self:  # fmt: skip
        """Estimate all parameters from sequences with known states.

        A probability is (count + smoothing) / sum of the same: with smoothing 1 Laplace's rule, with 0 the
        maximum likelihood. Emissions that are not probabilities of symbols are estimated as in `fit`'s M-step.
        A state without any count keeps its parameters, or gets neutral ones, with a warning.

        Args:
            X: (n_samples, n_features).
            states: (n_samples,), integers in 0 … K − 1.
            lengths: (n_sequences,), adding up to n_samples; None: one sequence.
            smoothing: added to every count, unless one of the next three says otherwise; 0 ≤ smoothing < inf.
            start_smoothing: added to start counts.
            transition_smoothing: added to transition counts (and to those of ends, where `endprob_` is set).
            emission_smoothing: added to counts of symbols; above 0, unseen symbols stay possible.

        Raises:
            ShapeError: a shape, a symbol, a state, a length or a smoothing is wrong.
        """
        given = {
            "start_smoothing": start_smoothing,
            "transition_smoothing": transition_smoothing,
            "emission_smoothing": emission_smoothing,
        }
        for name, amount in ({"smoothing": smoothing} | given).items():
            if amount is not None or name == "smoothing":
                check_smoothing(amount, name)
        added = [smoothing if amount is None else amount for amount in given.values()]
        data = self._observations(X, lengths, states, lowest=0)
        self._check_and_set_n_features(data.present)
        self._init_neutral(data)
        stats = self._known_statistics(data)
        self._smooth(stats, added[2])
        for name, count, extra in (("startprob_", "start", added[0]), ("transmat_", "trans", added[1])):
            counts = np.maximum(stats[count] + extra + self._prior(name) - 1.0, 0.0)
            setattr(self, name, normalized(counts, getattr(self, name, None), name))
        if self.endprob_ is not None:
            self.endprob_ = _ending(stats["end"] + added[1], stats["trans"] + added[1], self.endprob_)
        self._m_step_emissions(stats, string.ascii_letters)
        for _ in range(self._supervised_rounds() - 1):
            self._m_step_emissions(self._known_statistics(data), string.ascii_letters)
        return self

    def _supervised_rounds(self) -> int:
        """Return how many M-steps the emissions need once the states are known."""
        return 1

    def partial_fit(self, X: ArrayLike, lengths: ArrayLike | None = None, *, decay: float = 0.6) -> Self:
        """Learn from one more block of sequences, which may then be forgotten (online EM).

        The n-th block moves the running mean of the expected statistics, s ← (1 − γ_n) s + γ_n E[s | block] with
        γ_n = n^−decay, and the M-step maximises s (Cappé 2011, section 2; the expectation is exact within a block
        and no state is carried from one block to the next). The first call sets initial parameters as `fit` does.

        Args:
            X: (n_samples, n_features).
            lengths: (n_sequences,); None: one sequence.
            decay: 0.5 < decay ≤ 1; with 1 every block counts alike for ever.

        Raises:
            ShapeError: an argument or parameter is wrong, or a sequence is impossible.
        """
        if not 0.5 < decay <= 1.0:
            raise ShapeError(f"decay must lie in (0.5, 1], got {decay}")
        data = self._observations(X, lengths)
        if self._online is None:
            self._init(data.present, data.sizes)
        self._check()
        self._check_values(data.present)
        log_prob, stats = self._e_step(data)
        if not np.isfinite(log_prob):
            raise ShapeError(f"X holds a sequence that the parameters cannot produce: log-likelihood {log_prob}")
        before = self._online or _Online({}, 0, 0, 0)
        sequences, steps = data.firsts.size, len(data.values)
        share = {name: values / (sequences if name in ("start", "end") else steps) for name, values in stats.items()}
        gain = (before.updates + 1) ** -decay
        means = {name: (1 - gain) * before.means.get(name, 0.0) + gain * share[name] for name in share}
        self._online = _Online(means, before.updates + 1, before.sequences + sequences, before.steps + steps)
        totals = {
            name: mean * (self._online.sequences if name in ("start", "end") else self._online.steps)
            for name, mean in means.items()
        }
        self._m_step(totals, self.params)
        return self

    def fit(self, X: ArrayLike, lengths: ArrayLike | None = None, *, states: ArrayLike | None = None) -> Self:
        """Estimate the parameters by expectation–maximisation (Baum–Welch; Rabiner 1989, equations 40a to 40c).

        A state that is never visited keeps its parameters, with a warning.

        Args:
            X: (n_samples, n_features). A missing row is NaN or masked (`numpy.ma`) throughout; symbols and counts
                are integers, which have no NaN: those are masked.
            lengths: (n_sequences,), adding up to n_samples; None: one sequence.
            states: (n_samples,), the states as far as they are known, −1 elsewhere (semi-supervised training).

        Raises:
            ShapeError: (a ValueError) an argument or parameter is wrong, or a sequence is impossible at first.
        """
        self._online = None
        return super().fit(X, lengths, states=states)

    def _m_step(self, stats: Statistics, letters: str) -> None:
        """Normalise counts plus prior − 1; what is forbidden (0) in start and moves stays forbidden."""
        for letter, name, count in (("s", "startprob_", "start"), ("t", "transmat_", "trans")):
            if letter in letters:
                before: Floats = getattr(self, name)
                counts = np.maximum(self._prior(name) - 1.0 + stats[count], 0.0)
                setattr(self, name, normalized(np.where(before == 0, 0.0, counts), before, name))
        if "t" in letters and self.endprob_ is not None:
            self.endprob_ = _ending(stats["end"], stats["trans"], self.endprob_)
        self._m_step_emissions(stats, letters)

    def _prior(self, name: str) -> Any:
        return np.asarray({"startprob_": self.startprob_prior, "transmat_": self.transmat_prior}[name])

    def _m_step_emissions(self, stats: Statistics, letters: str) -> None:
        raise NotImplementedError

    def _init_neutral(self, data: Observations) -> None:
        """Give emission parameters that are missing values that a state without data may keep."""

    def _lower_bound(self, log_prob: float) -> float:
        return log_prob

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        self._check_and_set_n_features(X)
        random, K = random_state(self.random_state), self.n_components
        if self._needs_init("s", "startprob_"):
            self.startprob_ = random.dirichlet(np.full(K, 1 / K))
        if self._needs_init("t", "transmat_"):
            self.transmat_ = random.dirichlet(np.full(K, 1 / K), size=K)
        self._warn_if_degenerate(X)


def normalized(counts: NDArray[Any], fallback: Floats | None, name: str) -> Floats:
    """Divide by each row's sum; a row without counts keeps `fallback`'s, or becomes uniform, with a warning."""
    totals = counts.sum(axis=-1, keepdims=True)
    empty = (totals == 0)[..., 0]
    shares: Floats = counts / np.where(totals == 0, 1.0, totals)
    if empty.any():
        usable = fallback is not None and fallback.shape == counts.shape
        rest = np.asarray(fallback) if usable else np.full(counts.shape, 1.0 / counts.shape[-1])
        shares = np.where(totals == 0, rest, shares)
        rows = np.flatnonzero(empty).tolist()
        kind = "keep their values" if usable else "become uniform"
        warnings.warn(f"{name}: nothing was counted for rows {rows}; they {kind}", stacklevel=3)
    return shares


def kept(fresh: Floats, before: Floats, visited: NDArray[np.bool_], name: str) -> Floats:
    """Return `fresh` where a state (or component) was visited and `before` elsewhere, with a warning."""
    if visited.all():
        return fresh
    rows = [where.tolist() if where.size > 1 else int(where[0]) for where in np.argwhere(~visited)]
    warnings.warn(f"{name}: nothing was counted for rows {rows}; they keep their values", stacklevel=3)
    return np.where(visited.reshape(visited.shape + (1,) * (fresh.ndim - visited.ndim)), fresh, before)


def _ending(ends: Floats, moves: Floats, before: Floats) -> Floats:
    """Return ends / visits; a state without visits keeps its value, and 0 stays 0."""
    visits = ends + moves.sum(axis=1)
    shares = np.divide(ends, visits, out=np.array(before), where=visits > 0)
    return np.where(before == 0, 0.0, shares)
