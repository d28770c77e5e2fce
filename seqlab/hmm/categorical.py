"""Hidden Markov model with categorical emissions and the interface of `hmmlearn.hmm.CategoricalHMM`.

A hidden chain of states moves from state i to j with probability `transmat_[i, j]`; in state j it emits symbol
k with probability `emissionprob_[j, k]` (Rabiner 1989). With the logarithms of these probabilities as scores
this is a linear chain, so everything is computed by `seqlab.chain`.

Like hmmlearn this module speaks numpy: observations are one column of integers, (n_samples, 1) or
(n_samples,), in which the sequences lie behind each other; `lengths` says how long each is. Many short
sequences are computed together, sorted by length and padded.
"""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from seqlab import chain
from seqlab.errors import ShapeError
from seqlab.hmm.common import (
    ConvergenceMonitor,
    Floats,
    Ints,
    Random,
    SequenceBatch,
    batches,
    draw,
    normalized,
    seeded,
)

__all__ = ["CategoricalHMM"]


class CategoricalHMM:
    """HMM whose states emit one of `n_features` symbols.

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

    startprob_: Floats
    transmat_: Floats
    emissionprob_: Floats

    def __init__(
        self, n_components: int = 1, startprob_prior: Any = 1.0, transmat_prior: Any = 1.0, *,
        emissionprob_prior: Any = 1.0, n_features: int | None = None, algorithm: str = "viterbi",
        random_state: Random = None, n_iter: int = 10, tol: float = 1e-2, verbose: bool = False,
        params: str = "ste", init_params: str = "ste", implementation: str = "log",
    ) -> None:  # fmt: skip
        if n_components < 1:
            raise ShapeError(f"n_components must be at least 1, got {n_components}")
        self.n_components, self.n_features, self.algorithm = n_components, n_features, algorithm
        self.startprob_prior, self.transmat_prior = startprob_prior, transmat_prior
        self.emissionprob_prior, self.random_state = emissionprob_prior, random_state
        self.n_iter, self.tol, self.verbose = n_iter, tol, verbose
        self.params, self.init_params, self.implementation = params, init_params, implementation
        self.monitor_ = ConvergenceMonitor(tol, n_iter, verbose)

    def fit_supervised(
        self, X: ArrayLike, states: ArrayLike, lengths: ArrayLike | None = None, *, smoothing: float = 1.0,
        start_smoothing: float | None = None, transition_smoothing: float | None = None,
        emission_smoothing: float | None = None,
    ) -> Self:  # fmt: skip
        """Estimate all parameters from sequences with known states, by counting.

        A probability is (count + smoothing) / sum of the same: with smoothing 1 Laplace's rule, with 0 the
        maximum likelihood. A state without any count keeps its row, or gets a uniform one, with a warning.

        Args:
            X: (n_samples, 1) or (n_samples,), integers.
            states: (n_samples,), integers in 0 … K − 1.
            lengths: (n_sequences,), adding up to n_samples; None: one sequence.
            smoothing: added to every count, unless one of the next three says otherwise.
            start_smoothing: added to start counts.
            transition_smoothing: added to transition counts.
            emission_smoothing: added to emission counts; above 0, unseen symbols stay possible.

        Raises:
            ShapeError: a shape, a symbol, a state, a length or a smoothing is wrong.
        """
        added = [smoothing if s is None else s for s in (start_smoothing, transition_smoothing, emission_smoothing)]
        if min(added) < 0:
            raise ShapeError(f"smoothing must not be negative, got {min(added)}")
        symbols, sizes = self._observations(X, lengths, training=True)
        path = np.asarray(states).reshape(-1)
        K, M = self.n_components, int(self.n_features or 0)  # states, symbols
        if path.shape != symbols.shape or not np.issubdtype(path.dtype, np.integer):
            raise ShapeError(f"states must be {symbols.size} integers, got {path.size} of {path.dtype}")
        if path.min() < 0 or path.max() >= K:
            raise ShapeError(f"states must lie in 0 … {K - 1}, got {path.min()} … {path.max()}")

        starts = (np.cumsum(sizes) - sizes)[sizes > 0]  # (n_sequences,)
        moves = np.ones(path.size, dtype=bool)
        moves[starts] = False  # no move leads into a sequence's first state
        pairs = path[:-1][moves[1:]] * K + path[1:][moves[1:]]
        counts = (
            np.bincount(path[starts], minlength=K),
            np.bincount(pairs, minlength=K * K).reshape(K, K),
            np.bincount(path * M + symbols, minlength=K * M).reshape(K, M),
        )
        names = ("startprob_", "transmat_", "emissionprob_")
        for name, count, extra in zip(names, counts, added, strict=True):
            setattr(self, name, normalized(count + extra, getattr(self, name, None), name))
        return self

    def fit(self, X: ArrayLike, lengths: ArrayLike | None = None) -> Self:
        """Estimate the parameters from observations alone (Baum–Welch; Rabiner 1989, equations 40a to 40c).

        Each iteration computes the expected counts under the present parameters and normalises them. A state
        that is never visited keeps its row, with a warning.

        Args:
            X: (n_samples, 1) or (n_samples,), integers.
            lengths: (n_sequences,); None: one sequence.

        Raises:
            ShapeError: a shape, a symbol or a length is wrong, or a sequence is impossible.
        """
        symbols, sizes = self._observations(X, lengths, training=True)
        self._draw_parameters()
        self._check()
        self.monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        while not self.monitor_.converged:
            log_prob, start, moves, emitted = self._expected_counts(symbols, sizes)
            if not np.isfinite(log_prob):
                raise ShapeError("X holds a sequence that the initial parameters cannot produce")
            self._maximize(start, moves, emitted)
            self.monitor_.report(log_prob)
        return self

    def score(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:
        """Return the log-likelihood of all sequences together; −inf if one is impossible."""
        symbols, sizes = self._checked(X, lengths)
        return sum(
            float(chain.log_partition(*self._scores(symbols, batch)).sum())
            for batch in batches(sizes, self.n_components)
        )

    def score_samples(self, X: ArrayLike, lengths: ArrayLike | None = None) -> tuple[float, Floats]:
        """Return the log-likelihood and the posteriors, (n_samples, K); 0 in an impossible sequence."""
        symbols, sizes = self._checked(X, lengths)
        log_prob, posteriors = 0.0, np.zeros((symbols.size, self.n_components))
        for batch in batches(sizes, self.n_components):
            counts = chain.expected_counts(*self._scores(symbols, batch))
            log_prob += float(counts.log_partition.sum())
            posteriors[batch.positions[batch.inside]] = counts.states.numpy()[batch.inside]
        return log_prob, posteriors

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> Floats:
        """Return P(state at t | whole sequence), (n_samples, K)."""
        return self.score_samples(X, lengths)[1]

    def decode(
        self, X: ArrayLike, lengths: ArrayLike | None = None, algorithm: str | None = None
    ) -> tuple[float, Ints]:
        """Return the log-probability of the states found, and the states, (n_samples,).

        With "viterbi" the states are the most probable path and its joint log-probability with X; with "map"
        they are each step's most probable state, and the number is the sum of those posteriors, as in hmmlearn.
        """
        algorithm = algorithm or self.algorithm
        if algorithm not in ("viterbi", "map"):
            raise ShapeError(f"algorithm must be 'viterbi' or 'map', got {algorithm!r}")
        if algorithm == "map":
            posteriors = self.predict_proba(X, lengths)
            return float(posteriors.max(axis=1).sum()), posteriors.argmax(axis=1)
        symbols, sizes = self._checked(X, lengths)
        log_prob, states = 0.0, np.zeros(symbols.size, dtype=np.int64)
        for batch in batches(sizes, self.n_components):
            best = chain.viterbi(*self._scores(symbols, batch))
            log_prob += float(best.score.sum())
            states[batch.positions[batch.inside]] = best.tags.numpy()[batch.inside]
        return log_prob, states

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> Ints:
        """Return the states that `decode` finds, (n_samples,)."""
        return self.decode(X, lengths)[1]

    def sample(
        self, n_samples: int = 1, random_state: Random = None, currstate: int | None = None
    ) -> tuple[Ints, Ints]:
        """Draw one sequence: observations (n_samples, 1) and states (n_samples,), from `currstate` if given."""
        self._check()
        random = seeded(self.random_state if random_state is None else random_state)
        start, moves, emits = (p.cumsum(axis=-1) for p in (self.startprob_, self.transmat_, self.emissionprob_))
        states, symbols = np.empty(n_samples, dtype=np.int64), np.empty((n_samples, 1), dtype=np.int64)
        for t in range(n_samples):
            if t > 0 or currstate is None:
                currstate = draw(start if t == 0 else moves[states[t - 1]], random)
            states[t], symbols[t] = currstate, draw(emits[currstate], random)
        return symbols, states

    def _expected_counts(self, symbols: Ints, sizes: Ints) -> tuple[float, Floats, Floats, Floats]:
        """E-step: the log-likelihood and the expected starts (K,), moves (K, K) and emissions (K, M)."""
        K, M = self.emissionprob_.shape  # states, symbols
        log_prob, start, moves, emitted = 0.0, np.zeros(K), np.zeros((K, K)), torch.zeros(M, K).double()
        for batch in batches(sizes, self.n_components):
            counts = chain.expected_counts(*self._scores(symbols, batch))
            log_prob += float(counts.log_partition.sum())
            start += counts.states[0].sum(dim=0).numpy()
            moves += counts.transitions.numpy()
            seen = torch.from_numpy(symbols[batch.positions]).reshape(-1)
            emitted.index_add_(0, seen, counts.states.reshape(-1, K))  # padding adds 0
        return log_prob, start, moves, emitted.T.numpy()

    def _maximize(self, start: Floats, moves: Floats, emitted: Floats) -> None:
        """M-step: normalise counts plus prior; what is forbidden (0) in start and moves stays forbidden."""
        updates = (
            ("s", "startprob_", np.where(self.startprob_ == 0, 0.0, self.startprob_prior - 1 + start)),
            ("t", "transmat_", np.where(self.transmat_ == 0, 0.0, self.transmat_prior - 1 + moves)),
            ("e", "emissionprob_", self.emissionprob_prior - 1 + emitted),
        )
        for letter, name, counts in updates:
            if letter in self.params:
                setattr(self, name, normalized(np.maximum(counts, 0.0), getattr(self, name), name))

    def _draw_parameters(self) -> None:
        """Draw the parameters named in `init_params`, and those that are missing."""
        random, K = seeded(self.random_state), self.n_components
        if "s" in self.init_params or not hasattr(self, "startprob_"):
            self.startprob_ = random.dirichlet(np.full(K, 1 / K))
        if "t" in self.init_params or not hasattr(self, "transmat_"):
            self.transmat_ = random.dirichlet(np.full(K, 1 / K), size=K)
        if "e" in self.init_params or not hasattr(self, "emissionprob_"):
            drawn = random.rand(K, int(self.n_features or 0))
            self.emissionprob_ = drawn / drawn.sum(axis=1, keepdims=True)

    def _checked(self, X: ArrayLike, lengths: ArrayLike | None) -> tuple[Ints, Ints]:
        self._check()
        return self._observations(X, lengths, training=False)

    def _check(self) -> None:
        """Check that the parameters are there, shaped right, and distributions."""
        K = self.n_components
        for name in ("startprob_", "transmat_", "emissionprob_"):
            if not hasattr(self, name):
                raise ShapeError(f"{name} is not set: call fit or fit_supervised, or set it")
            setattr(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        if self.n_features is None:
            self.n_features = self.emissionprob_.shape[-1]
        expected = {"startprob_": (K,), "transmat_": (K, K), "emissionprob_": (K, self.n_features)}
        for name, shape in expected.items():
            values = getattr(self, name)
            if values.shape != shape:
                raise ShapeError(f"{name} must have shape {shape}, got {values.shape}")
            if not (values >= 0).all() or not np.allclose(values.sum(axis=-1), 1.0):
                raise ShapeError(f"{name} must not be negative and sum to 1, got sums {values.sum(axis=-1)}")

    def _observations(self, X: ArrayLike, lengths: ArrayLike | None, *, training: bool) -> tuple[Ints, Ints]:
        """Return the symbols (n_samples,) and the sequences' lengths; in training set a missing `n_features`."""
        symbols = np.asarray(X)
        if symbols.size == 0 or symbols.ndim not in (1, 2) or (symbols.ndim == 2 and symbols.shape[1] != 1):
            raise ShapeError(f"X must have shape (n_samples, 1) with samples, got {symbols.shape}")
        if not np.issubdtype(symbols.dtype, np.integer):
            raise ShapeError(f"Symbols should be integers, got {symbols.dtype}")
        if symbols.min() < 0:
            raise ShapeError(f"Symbols should be nonnegative, got {symbols.min()}")
        if self.n_features is None and training:
            self.n_features = int(symbols.max()) + 1
        if symbols.max() >= (self.n_features or 0):
            raise ShapeError(
                f"Largest symbol is {symbols.max()} but the model only emits "
                f"symbols up to {(self.n_features or 0) - 1}: set n_features"
            )
        sizes = np.atleast_1d(np.asarray(symbols.shape[0] if lengths is None else lengths))
        if not np.issubdtype(sizes.dtype, np.integer) or sizes.min() < 0 or sizes.sum() != symbols.shape[0]:
            raise ShapeError(f"lengths must add up to {symbols.shape[0]} samples, got a sum of {sizes.sum()}")
        return symbols.reshape(-1).astype(np.int64), sizes.astype(np.int64)

    def _scores(
        self, symbols: Ints, batch: SequenceBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return a batch as the chain's arguments: log-probabilities, and an end that costs nothing."""
        start, moves, emits = (torch.from_numpy(p).log() for p in (self.startprob_, self.transmat_, self.emissionprob_))
        emissions = emits.T[torch.from_numpy(symbols[batch.positions])]  # (T, B, K)
        return emissions, moves, start, torch.zeros_like(start), batch.lengths
