"""What every hidden Markov model shares: training in rounds, scoring, decoding, sampling.

The joint probability of states z and observations x (Rabiner 1989, equation 13) is

    p(x, z) = π(z_1) Π_t a(z_{t-1}, z_t) Π_t b(x_t | z_t)

With logarithms as scores it is a linear chain, so the sums and maxima over z are `seqlab.chain.packed`'s. A family of
emissions brings log b(x | k), the statistics that its M-step needs, and the M-step.

An optional end distribution e makes the length of a sequence part of the model: after state i it ends with
probability e(i) and moves on to j with probability (1 − e(i)) a(i, j).
"""

import logging
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seqlab.chain import packed
from seqlab.chain.explain import ViterbiWalk, explain_viterbi
from seqlab.chain.kbest import k_best
from seqlab.errors import ShapeError
from seqlab.hmm.estimator import Estimator, NotFittedError, Random, random_state
from seqlab.hmm.inputs import (
    Floats,
    Ints,
    Mask,
    Observations,
    as_array,
    check_integer,
    real_rows,
    sequence_sizes,
    state_labels,
)
from seqlab.hmm.monitor import ConvergenceMonitor

__all__ = ["DECODER_ALGORITHMS", "AbstractHMM", "ChainInputs", "KBestPaths", "Statistics"]

_log = logging.getLogger(__name__)
DECODER_ALGORITHMS = frozenset(("viterbi", "map"))

Statistics: TypeAlias = dict[str, Floats]


class ChainInputs(NamedTuple):
    """The arguments of `seqlab.chain`'s functions: padded sequences side by side, S of them."""

    emissions: torch.Tensor  # (T, S, K)
    transitions: torch.Tensor  # (K, K)
    start: torch.Tensor  # (K,)
    end: torch.Tensor  # (K,)
    lengths: torch.Tensor  # (S,)


class KBestPaths(NamedTuple):
    """The k best paths of each of S sequences: `log_prob` (k, S), best first; `states` (k, n_samples).

    Where a sequence has fewer than k paths, log_prob is −inf and its states are −1.
    """

    log_prob: Floats
    states: Ints


class AbstractHMM(Estimator):
    """Base of all models; a family overrides what raises NotImplementedError.

    Attributes:
        startprob_: (K,), π.
        transmat_: (K, K), a.
        endprob_: (K,), e, or None (the default): sequences do not end by themselves. Once set, it is learnt too.
        monitor_: the `ConvergenceMonitor` of `fit`.
    """

    startprob_: Floats
    transmat_: Floats
    endprob_: Floats | None = None
    n_features: int | None
    _emits_densities = False  # whether exp of an emission's score is a density, not a probability

    def __init__(
        self, n_components: int, algorithm: str, random_state: Random, n_iter: int, tol: float, verbose: bool,
        params: str, init_params: str, implementation: str,
    ) -> None:  # fmt: skip
        self.n_components, self.algorithm, self.random_state = n_components, algorithm, random_state
        self.n_iter, self.tol, self.verbose = n_iter, tol, verbose
        self.params, self.init_params, self.implementation = params, init_params, implementation
        self.monitor_ = ConvergenceMonitor(tol, n_iter, verbose)

    # What a family of emissions brings.

    def _compute_log_likelihood(self, X: NDArray[Any]) -> Floats:
        """Return log b(x_t | k), (N, K)."""
        raise NotImplementedError

    def _emission_statistics(self, X: NDArray[Any], posteriors: Floats) -> Statistics:
        """Return what the M-step needs of the rows (N, D), weighted by P(z_t = k | x), (N, K)."""
        raise NotImplementedError

    def _m_step(self, stats: Statistics, letters: str) -> None:
        """Re-estimate the parameters named by `letters`."""
        raise NotImplementedError

    def _smooth(self, stats: Statistics, amount: Any) -> None:
        """Add a pseudo-count to the symbols' counts, where there are symbols; `amount` is a number or (K, 1)."""

    def _lower_bound(self, log_prob: float) -> float:
        """Return what `fit` raises, given the E-step's log-partition."""
        raise NotImplementedError

    def _init(self, X: NDArray[Any], lengths: ArrayLike | None = None) -> None:
        """Set the parameters named in `init_params`, and those that are missing."""
        raise NotImplementedError

    def _get_n_fit_scalars_per_param(self) -> dict[str, int]:
        """Return the number of free numbers behind each letter of `params`."""
        raise NotImplementedError

    def _generate_sample_from_state(self, state: int, random_state: np.random.RandomState) -> Any:
        """Draw one row of observations, (D,)."""
        return ()

    def _rows(self, X: ArrayLike) -> tuple[NDArray[Any], Mask | None]:
        return real_rows(X)

    def _check_values(self, X: NDArray[Any]) -> None:
        self._check_and_set_n_features(X)

    # Training.

    def fit(self, X: ArrayLike, lengths: ArrayLike | None = None, *, states: ArrayLike | None = None) -> Self:
        """Estimate the parameters by expectation–maximisation, or by its variational twin.

        Args:
            X: (n_samples, n_features). A missing row is NaN or masked (`numpy.ma`) throughout; symbols and counts
                are integers, which have no NaN: those are masked.
            lengths: (n_sequences,), adding up to n_samples; None: one sequence.
            states: (n_samples,), the states as far as they are known, −1 elsewhere (semi-supervised training).

        Raises:
            ShapeError: (a ValueError) an argument or parameter is wrong, or a sequence is impossible at first.
        """
        data = self._observations(X, lengths, states)
        self._init(data.present, data.sizes)
        self._check()
        if data.states is not None:
            self._begin_from_known(data)
        if type(self.monitor_) is ConvergenceMonitor:  # tol and the like may have changed since
            self.monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        self.monitor_._reset()
        for _ in range(self.n_iter):
            log_prob, stats = self._e_step(data)
            if not np.isfinite(log_prob):
                raise ShapeError(f"X holds a sequence that the parameters cannot produce: log-likelihood {log_prob}")
            bound = self._lower_bound(log_prob)
            self._m_step(stats, self.params)
            self.monitor_.report(bound)
            if self.monitor_.converged:
                break
        return self

    def _begin_from_known(self, data: Observations) -> None:
        """Set initial emissions from the known states; a state that nobody named keeps what `_init` gave it."""
        assert data.states is not None
        stats, named = self._known_statistics(data), np.isin(np.arange(self.n_components), data.states)
        self._smooth(stats, named[:, None].astype(np.float64))
        with warnings.catch_warnings(action="ignore"):
            self._m_step(stats, "".join(set(self.init_params) - set("stcw")))

    def _e_step(self, data: Observations) -> tuple[float, Statistics]:
        """Return log p(x) and the expected statistics under the posterior over states (Rabiner, 37 to 40)."""
        scores = constrained(self._fit_log_likelihood(data.values), data)
        counts = packed.forward_backward(scores, *self._fit_scores(), data.sizes)
        return float(counts.log_partition.sum()), self._statistics(data, counts.states, counts.transitions)

    def _statistics(self, data: Observations, posteriors: Floats, moves: Floats) -> Statistics:
        chain = {
            "start": posteriors[data.firsts].sum(axis=0),
            "trans": moves,
            "end": posteriors[data.lasts].sum(axis=0),
        }
        observed = posteriors
        if data.missing is not None:
            observed = np.where(data.missing[:, None], 0.0, posteriors)
        return chain | self._emission_statistics(data.values, observed)

    def _known_statistics(self, data: Observations) -> Statistics:
        """Return the statistics of the steps with known states, counted."""
        assert data.states is not None
        K, states = self.n_components, data.states
        certain = (states[:, None] == np.arange(K)).astype(np.float64)
        pairs = (states[:-1] >= 0) & (states[1:] >= 0)
        pairs[data.firsts[1:] - 1] = False  # no move leads from one sequence to the next
        moves = np.bincount(states[:-1][pairs] * K + states[1:][pairs], minlength=K * K).reshape(K, K)
        return self._statistics(data, certain, moves.astype(np.float64))

    # Inference.

    def score(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:
        """Return the log-likelihood of all sequences together; −inf if one is impossible."""
        data = self._checked(X, lengths)
        return float(packed.log_partition(self._emission_scores(data), *self._chain_scores(), data.sizes).sum())

    def score_samples(self, X: ArrayLike, lengths: ArrayLike | None = None) -> tuple[float, Floats]:
        """Return the log-likelihood and P(state at t | whole sequence), (n_samples, K); 0 in an impossible sequence."""
        data = self._checked(X, lengths)
        counts = packed.forward_backward(self._emission_scores(data), *self._chain_scores(), data.sizes)
        return float(counts.log_partition.sum()), counts.states

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> Floats:
        """Return P(state at t | whole sequence), (n_samples, K)."""
        return self.score_samples(X, lengths)[1]

    def explain(
        self, X: ArrayLike, *, states: Sequence[str] | None = None, steps: Sequence[str] | None = None
    ) -> ViterbiWalk:
        """Return every δ and back-pointer of Viterbi's run over one sequence; printed, it is the walk in words.

        The path is that of `decode`. A δ is shown as a probability too, except where the emissions are densities
        (Gaussians, mixtures).

        Args:
            X: the observations of one sequence.
            states: names of the states.
            steps: names of the steps.
        """
        return self._walk(self._emission_scores(self._checked(X, None)), states, steps)

    def _walk(self, emissions: Floats, states: Sequence[str] | None, steps: Sequence[str] | None) -> ViterbiWalk:
        chances, scores = not self._emits_densities, self._chain_scores()
        return explain_viterbi(emissions, *scores, states=states, steps=steps, probabilities=chances, last_wins=True)

    def decode(
        self,
        X: ArrayLike,
        lengths: ArrayLike | None = None,
        algorithm: str | None = None,
        *,
        explain: bool | Sequence[str] = False,
    ) -> tuple[float, Ints]:
        """Return the log-probability of the states found, and the states, (n_samples,).

        With "viterbi" the states are the most probable path and its joint log-probability with X; with "map"
        they are each step's most probable state, and the number is the sum of those posteriors, as in hmmlearn.

        Args:
            X: (n_samples, n_features).
            lengths: (n_sequences,), adding up to n_samples; None: one sequence.
            algorithm: "viterbi" or "map"; None: the model's `algorithm`.
            explain: whether Viterbi's run over each sequence is printed too (see the method `explain`); or the names
                of the K states to print it with.

        Raises:
            ShapeError: an argument is wrong, or `explain` goes with "map", which is no Viterbi run.
        """
        algorithm = algorithm or self.algorithm
        if algorithm not in DECODER_ALGORITHMS:
            raise ShapeError(f"algorithm must be 'viterbi' or 'map', got {algorithm!r}")
        told = explain if isinstance(explain, bool) else True
        if algorithm == "map":
            if told:
                raise ShapeError("explain tells a Viterbi run: leave it out, or decode with algorithm='viterbi'")
            posteriors = self.predict_proba(X, lengths)
            return float(posteriors.max(axis=1).sum()), posteriors.argmax(axis=1)
        data = self._checked(X, lengths)
        if told:
            self._print_walks(data, None if isinstance(explain, bool) else explain)
        path = self._best_path(data)
        return float(path.score.sum()), path.states

    def _print_walks(self, data: Observations, states: Sequence[str] | None) -> None:
        """Print Viterbi's run over each sequence, numbered if there are several."""
        rows = np.split(self._emission_scores(data), np.cumsum(data.sizes)[:-1])
        for number, row in enumerate(rows, 1):
            if len(rows) > 1:
                print(f"sequence {number} of {len(rows)}" + ("" if len(row) else ": empty"))
            if len(row):
                print(self._walk(row, states, None))

    def _best_path(self, data: Observations) -> packed.PackedPath:
        return packed.viterbi(self._emission_scores(data), *self._chain_scores(), data.sizes, last_wins=True)

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        """Return the states that `decode` finds, (n_samples,)."""
        return self.decode(X, lengths)[1]

    def decode_k_best(self, X: ArrayLike, lengths: ArrayLike | None = None, k: int = 1) -> KBestPaths:
        """Return the k most probable paths of each of S sequences, and their joint log-probabilities with X.

        Where a sequence has fewer than k paths, the rest of its column of `log_prob`, (k, S), is −inf and the rest of
        its steps in `states`, (k, n_samples), is −1.

        Args:
            X: (n_samples, n_features).
            lengths: (S,), adding up to n_samples; None: one sequence.
            k: an integer, at least 1.

        Raises:
            ShapeError: an argument is wrong.
        """
        check_integer(k, "k", 1)
        data = self._checked(X, lengths)
        parts = self._to_chain(data)
        best = k_best(*parts, k=k)
        inside = np.arange(len(parts.emissions)) < data.sizes[:, None]  # (S, T)
        states = best.tags.transpose(1, 2).numpy()[:, inside]  # (k, S, T) → (k, N)
        return KBestPaths(best.score.numpy(), states)

    def to_chain(self, X: ArrayLike, lengths: ArrayLike | None = None) -> ChainInputs:
        """Return the scores as `seqlab.chain` takes them: `log_partition(*(part.cuda() for part in inputs))`."""
        return self._to_chain(self._checked(X, lengths))

    def _to_chain(self, data: Observations) -> ChainInputs:
        scores, (moves, start, end) = self._emission_scores(data), self._chain_scores()
        inside = np.arange(data.sizes.max()) < data.sizes[:, None]  # (S, T)
        padded = np.zeros((*inside.shape, self.n_components))
        padded[inside] = scores
        emissions = torch.from_numpy(padded).transpose(0, 1).contiguous()  # (T, S, K)
        last = np.zeros(self.n_components) if end is None else end
        return ChainInputs(emissions, *map(torch.from_numpy, (moves, start, last, data.sizes)))

    def aic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:
        """Return Akaike's criterion, 2 · parameters − 2 · log-likelihood: lower is better."""
        return 2.0 * self._free_scalars() - 2.0 * self.score(X, lengths)

    def bic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:
        """Return Schwarz's criterion, log(n_samples) · parameters − 2 · log-likelihood: lower is better."""
        misfit = -2.0 * self.score(X, lengths)
        return self._free_scalars() * float(np.log(len(np.asarray(X)))) + misfit

    def _free_scalars(self) -> int:
        ends = 0 if self.endprob_ is None else self.n_components
        return sum(self._get_n_fit_scalars_per_param().values()) + ends

    def get_stationary_distribution(self) -> Floats:
        """Return the distribution π of states with π = π a, (K,); with several, a mixture of them."""
        self._check_rows("transmat_", (self.n_components, self.n_components))
        moves = self.transmat_
        equations = np.vstack([moves.T - np.eye(len(moves)), np.ones(len(moves))])
        solution = np.linalg.lstsq(equations, np.eye(len(moves) + 1)[-1], rcond=None)[0]
        positive: Floats = np.maximum(solution, 0.0)
        return np.asarray(positive / positive.sum())

    def sample(
        self, n_samples: int = 1, random_state: Random = None, currstate: int | None = None
    ) -> tuple[NDArray[Any], Ints]:
        """Draw one sequence: observations (n_samples, n_features) and states (n_samples,), from `currstate` if given.

        `endprob_` is left aside: the length is n_samples, at least 1.

        Raises:
            ShapeError: an argument or parameter is wrong.
        """
        check_integer(n_samples, "n_samples", 1)
        self._require_fitted()
        self._check()
        if currstate is not None:
            check_integer(currstate, "currstate", 0, self.n_components - 1)
        seed = self.random_state if random_state is None else random_state
        random = _generator(seed)
        start, moves = self.startprob_.cumsum(), self.transmat_.cumsum(axis=1)
        states, rows = np.empty(n_samples, dtype=np.int64), []
        for t in range(n_samples):
            if t > 0 or currstate is None:
                currstate = draw(start if t == 0 else moves[states[t - 1]], random)
            states[t] = currstate
            rows.append(self._generate_sample_from_state(int(currstate), random))
        return np.atleast_2d(rows), states

    # Checks.

    def _observations(
        self, X: ArrayLike, lengths: ArrayLike | None, states: ArrayLike | None = None, *, lowest: int = -1
    ) -> Observations:
        self._check_sizes()
        values, missing = self._rows(X)
        if missing is not None and missing.all():
            raise ShapeError("X must hold something, got nothing but missing rows")
        known = None if states is None else state_labels(states, len(values), self.n_components, lowest=lowest)
        return Observations(values, missing, sequence_sizes(lengths, len(values)), known)

    def _checked(self, X: ArrayLike, lengths: ArrayLike | None) -> Observations:
        self._require_fitted()
        self._check()
        data = self._observations(X, lengths)
        self._check_values(data.present)
        return data

    def _require_fitted(self) -> None:
        for name in ("startprob_", "transmat_"):
            if getattr(self, name, None) is None:
                raise NotFittedError(f"{name} is not set: call fit, or set it")

    def _check_sizes(self) -> None:
        """Check the constructor's integers, on which everything's shape depends."""
        check_integer(self.n_components, "n_components", 1)
        check_integer(self.n_iter, "n_iter", 0)

    def _check(self) -> None:
        """Check the parameters that all families share."""
        self._check_sizes()
        K = self.n_components
        self._check_rows("startprob_", (K,))
        self._check_rows("transmat_", (K, K))
        if self.endprob_ is not None:
            self.endprob_ = as_array(self.endprob_, "endprob_", np.float64)
            if self.endprob_.shape != (K,) or not ((self.endprob_ >= 0) & (self.endprob_ <= 1)).all():
                raise ShapeError(f"endprob_ must be {K} probabilities, got {self.endprob_}")

    def _check_rows(self, name: str, shape: tuple[int, ...]) -> None:
        """Check that a parameter's rows are distributions; store it as float64."""
        if getattr(self, name, None) is None:
            raise NotFittedError(f"{name} is not set: call fit, or set it")
        values = as_array(getattr(self, name), name, np.float64)
        if values.shape != shape:
            raise ShapeError(f"{name} must have shape {shape}, got {values.shape}")
        if not (values >= 0).all() or not np.allclose(values.sum(axis=-1), 1.0):
            raise ShapeError(f"{name} must not be negative and sum to 1, got sums {values.sum(axis=-1)}")
        setattr(self, name, values)

    def _check_and_set_n_features(self, X: NDArray[Any]) -> None:
        expected = getattr(self, "n_features", None)
        if expected is not None and X.shape[1] != expected:
            raise ShapeError(f"X must have {expected} columns, as the model's n_features says, got {X.shape[1]}")
        self.n_features = X.shape[1]

    def _needs_init(self, code: str, name: str) -> bool:
        if code in self.init_params and hasattr(self, name):
            _log.warning("%s was set but will be overwritten: init_params contains %r", name, code)
        return code in self.init_params or not hasattr(self, name)

    def _warn_if_degenerate(self, X: NDArray[Any]) -> None:
        try:
            free = self._get_n_fit_scalars_per_param()
        except NotImplementedError:
            return
        wanted = sum(free.get(letter, 0) for letter in self.params)
        if X.size < wanted:
            _log.warning("%d free parameters but only %d numbers: expect a degenerate solution", wanted, X.size)

    # Scores.

    def _chain_scores(self) -> tuple[Floats, Floats, Floats | None]:
        """Return log a, log π and log e as the chain's transitions, start and end."""
        with np.errstate(divide="ignore"):
            moves, start = np.log(self.transmat_), np.log(self.startprob_)
            if self.endprob_ is None:
                return moves, start, None
            return moves + np.log1p(-self.endprob_)[:, None], start, np.log(self.endprob_)

    def _fit_scores(self) -> tuple[Floats, Floats, Floats | None]:
        """Return the chain scores of the E-step; variational training weighs them otherwise."""
        return self._chain_scores()

    def _fit_log_likelihood(self, X: NDArray[Any]) -> Floats:
        return self._compute_log_likelihood(X)

    def _emission_scores(self, data: Observations) -> Floats:
        """Return (N, K) log-scores: 0 where nothing was observed, −inf in states known to be wrong."""
        return constrained(self._compute_log_likelihood(data.values), data)


def constrained(scores: Floats, data: Observations) -> Floats:
    """Return scores with those of missing rows 0, and −inf in states that are known not to be."""
    if data.missing is not None:
        scores = np.where(data.missing[:, None], 0.0, scores)
    if data.states is not None:
        wrong = (data.states[:, None] >= 0) & (data.states[:, None] != np.arange(scores.shape[1]))
        scores = np.where(wrong, -np.inf, scores)
    return scores


def draw(cumulated: Floats, random: np.random.RandomState) -> int:
    """Draw an index by inverting a cumulated distribution; rounding of the last entry does no harm."""
    return min(int(np.searchsorted(cumulated, random.rand(), side="right")), cumulated.size - 1)


_generator = random_state  # `sample` has an argument of that name
