"""The linear-chain CRF on hand features, as CRFsuite trains it.

Token t of a sentence has features f with values v_tf, and tag k scores

    emissions[t, k] = Σ_f v_tf · states[f, k],      s(y) = Σ_t emissions[t, y_t] + Σ_t transitions[y_t, y_{t+1}]

Training minimises over all weights w = (states, transitions)

    Σ sentences (log Z − s(y)) + c1 · Σ|w| + c2 · Σ w²

a convex function, whose gradient is the expected less the observed number of times that each feature meets each
tag (Lafferty, McCallum and Pereira 2001). The sentences lie behind one another, so a step is one sparse product,
one forward–backward, and one sparse product with the transposed matrix.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlab.chain import packed
from seqlab.errors import ConfigError
from seqlab.tagging.attributes import Attributes, Sentences, merge_equal_columns
from seqlab.tagging.lbfgs import Minimum, StopRule, dot, minimise
from seqlab.tagging.scores import AllowedMoves, ChainScores, sizes_of
from seqlab.tagging.settings import check_types
from seqlab.tagging.sparse import SparseRows
from seqlab.tagging.storage import check_weights

__all__ = ["LinearChain", "LinearSettings", "Objective"]

Floats = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LinearSettings:
    """How a linear chain is trained; names and meanings are sklearn-crfsuite's, the defaults are not all.

    Attributes:
        c1: L1 penalty; above 0 many weights become exactly 0.
        c2: L2 penalty (of w², not w²/2).
        max_iterations: steps of L-BFGS.
        num_memories: pairs that L-BFGS remembers.
        epsilon: see `StopRule`.
        period: see `StopRule`.
        delta: see `StopRule`.
        min_freq: features seen fewer times are left out.
        all_possible_states: whether a feature has a weight also with tags that it never met in training.
        all_possible_transitions: the same for pairs of tags.
    """

    c1: float = 0.0
    c2: float = 0.1
    max_iterations: int = 1000
    num_memories: int = 6
    epsilon: float = 1e-5
    period: int = 10
    delta: float = 1e-6
    min_freq: float = 0.0
    all_possible_states: bool = True
    all_possible_transitions: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("c1", "c2", "epsilon", "delta", "min_freq"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be a number ≥ 0, got {getattr(self, name)!r}")
        for name in ("max_iterations", "num_memories", "period"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)!r}")

    @property
    def stop(self) -> StopRule:
        """When L-BFGS stops."""
        return StopRule(self.max_iterations, self.epsilon, self.period, self.delta)


class Objective:
    """Value and gradient of the penalised negative log-likelihood, without its L1 part.

    Args:
        rows: (N, F), the features of all tokens.
        gold: (N,), their tags.
        sizes: (S,), the sentences' lengths.
        allowed: which moves there are.
        settings: of these, `c2` and the two `all_possible_…` count.
    """

    def __init__(
        self, rows: SparseRows, gold: Ints, sizes: Ints, allowed: AllowedMoves, settings: LinearSettings
    ) -> None:
        self.rows, self.by_feature = rows, rows.transposed()
        self.gold, self.sizes, self.allowed, self.c2 = gold, sizes, allowed, settings.c2
        K = self.num_tags = len(allowed.start)
        self.moves = np.zeros((K, K))
        inside = np.ones(len(gold), bool)
        inside[np.cumsum(sizes)[sizes > 0] - 1] = False
        before = np.flatnonzero(inside)
        np.add.at(self.moves, (gold[before], gold[before + 1]), 1.0)
        self.total = (rows.num_columns + K) * K  # weights of all pairs
        self.free: Ints | None = None  # those of them that may leave 0; None: all
        if not (settings.all_possible_states and settings.all_possible_transitions):
            met = np.ones((rows.num_columns, K), bool)
            if not settings.all_possible_states:
                met = self.by_feature._replace(values=np.ones(len(rows.values))).dot(np.eye(K)[gold]) > 0
            moved = np.ones((K, K), bool) if settings.all_possible_transitions else self.moves > 0
            self.free = np.flatnonzero(np.concatenate([met.ravel(), moved.ravel()]))

    @property
    def size(self) -> int:
        """Number of free weights, F·K + K·K if all are."""
        return self.total if self.free is None else len(self.free)

    def split(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the states (F, K) and the transitions (K, K) of a point (size,)."""
        whole, K = weights, self.num_tags
        if self.free is not None:
            whole = np.zeros(self.total)
            whole[self.free] = weights
        return whole[: -K * K].reshape(-1, K), whole[-K * K :].reshape(K, K)

    def joined(self, states: Floats, transitions: Floats) -> Floats:
        """Return the point (size,) of states (F, K) and transitions (K, K): undo `split`."""
        whole = np.concatenate([states.ravel(), transitions.ravel()])
        return whole if self.free is None else whole[self.free]

    def __call__(self, weights: Floats) -> tuple[float, Floats]:
        """Return value and gradient at `weights` (size,)."""
        states, transitions = self.split(weights)
        emissions = self.rows.dot(states)  # (N, K)
        steps = np.arange(len(emissions))
        found = packed.forward_backward(
            emissions, transitions + self.allowed.pairs, self.allowed.start, self.allowed.end, self.sizes
        )
        score = emissions[steps, self.gold].sum() + (self.moves * transitions).sum()
        value = float(found.log_partition.sum() - score + self.c2 * dot(weights, weights))
        slope = found.states  # (N, K), becomes expected less observed
        slope[steps, self.gold] -= 1.0
        gradient = self.joined(self.by_feature.dot(slope), found.transitions - self.moves)
        gradient += (2.0 * self.c2) * weights
        return value, gradient


class LinearChain:
    """A trained model.

    Args:
        attributes: the F features' names.
        states: (F, K), weight of a feature with a tag.
        transitions: (K, K), weight of a tag (row) before another (column).
        allowed: which moves there are.
    """

    def __init__(self, attributes: Attributes, states: Floats, transitions: Floats, allowed: AllowedMoves) -> None:
        self.attributes, self.states, self.transitions, self.allowed = attributes, states, transitions, allowed

    @classmethod
    def fit(
        cls,
        sentences: Sentences,
        gold: Ints,
        allowed: AllowedMoves,
        settings: LinearSettings,
        report: Callable[[int, float], None] | None = None,
    ) -> tuple["LinearChain", Minimum]:
        """Train on descriptions of tokens; return the model and how the search ended.

        Args:
            sentences: descriptions of the tokens.
            gold: (N,), the tags of all tokens in a row.
            allowed: which moves there are; those of `gold` must be among them.
            settings: of the training.
            report: told the number and the value of each step.

        Raises:
            DataError: a description has a wrong form.
        """
        attributes, rows = Attributes.learn(sentences, settings.min_freq)
        merged, group, scale = merge_equal_columns(rows)
        objective = Objective(merged, gold, sizes_of(sentences), allowed, settings)
        l1 = None
        if settings.c1 > 0:  # m weights w = u/√m cost m·c1·|w| = √m·c1·|u|
            K = objective.num_tags
            l1 = settings.c1 * objective.joined(np.repeat(scale[:, None], K, axis=1), np.ones((K, K)))
        found = minimise(
            objective, np.zeros(objective.size), settings.stop, memory=settings.num_memories, l1=l1, report=report
        )
        states, transitions = objective.split(found.point)
        spread = (states / scale[:, None])[group].astype(np.float32)
        return cls(attributes, spread, transitions.astype(np.float32), allowed), found

    def scores(self, sentences: Sentences) -> ChainScores:
        """Score sentences of described tokens, in float32.

        Raises:
            DataError: a description has a wrong form.
        """
        emissions = self.attributes.rows(sentences).dot(self.states)  # (N, K)
        return ChainScores(emissions, self.transitions + self.allowed.pairs, self.allowed.start, self.allowed.end)

    def state(self) -> tuple[dict[str, Any], Mapping[str, Floats]]:
        """Return what `restore` needs."""
        weights = {"states": self.states, "transitions": self.transitions}
        return {}, {**weights, "attributes": self.attributes.to_bytes()}

    @classmethod
    def restore(cls, arrays: Mapping[str, Floats], allowed: AllowedMoves) -> "LinearChain":
        """Undo `state`.

        Raises:
            KeyError, ValueError, RecursionError: an array is missing, does not fit the others, or holds what no
                training gives.
        """
        attributes, K = Attributes.from_bytes(arrays["attributes"]), len(allowed.start)
        weights = {name: arrays[name] for name in ("states", "transitions")}
        check_weights(weights)
        for name, shape in (("states", (len(attributes), K)), ("transitions", (K, K))):
            if weights[name].shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {weights[name].shape}")
        return cls(attributes, **weights, allowed=allowed)
