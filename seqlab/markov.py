"""Markov chains: the next state depends on the present one alone.

    P(y_1, …, y_n) = start[y_1] · Π_t transition[y_t, y_{t+1}]

`MarkovChain` is estimated from sequences of named states, or written down, and answers what textbooks ask of it:
path probabilities, where it will be after n steps, where in the long run, how long until it gets somewhere, and
whether one step of memory is enough. Sources: Norris, "Markov Chains" (1997), chapter 1; Kemeny and Snell, "Finite
Markov Chains" (1960), chapter 3 (fundamental matrix); Anderson and Goodman, "Statistical Inference about Markov
Chains" (1957) (order test).
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seqlab import chain
from seqlab.errors import ShapeError
from seqlab.pictures import ChainGraph, chain_graph

__all__ = ["Absorption", "MarkovChain", "OrderTest"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = Hashable


class Absorption(NamedTuple):
    """What becomes of a chain with absorbing states.

    Attributes:
        transient: names of the states that are left for good sooner or later.
        absorbing: names of the states that are never left.
        probabilities: (transient, absorbing), where the chain ends, by where it begins.
        steps: (transient,), expected steps until it ends.
        visits: (transient, transient), expected visits, the fundamental matrix (I − Q)⁻¹.
    """

    transient: list[State]
    absorbing: list[State]
    probabilities: Floats
    steps: Floats
    visits: Floats


class OrderTest(NamedTuple):
    """Likelihood-ratio test of a chain of order `order` against one of order `order` + 1.

    Attributes:
        order: the hypothesis.
        statistic: 2 (log-likelihood of order + 1 less that of order), asymptotically chi-squared.
        degrees: degrees of freedom.
        p_value: the chance of such a statistic or a larger one if the hypothesis is right.
    """

    order: int
    statistic: float
    degrees: int
    p_value: float


class MarkovChain:
    """A chain over named states.

    Args:
        states: the K names, all different.
        transitions: (K, K), each row sums to 1: from row to column.
        start: (K,), sums to 1; None: uniform.

    Attributes:
        states: the names.
        transitions: (K, K), float64.
        start: (K,), float64.

    Raises:
        ShapeError: a shape is wrong, a name occurs twice, or a row is no distribution.
    """

    def __init__(self, states: Sequence[State], transitions: ArrayLike, start: ArrayLike | None = None) -> None:
        self.states = list(states)
        K = len(self.states)
        if K == 0 or len(set(self.states)) != K:
            raise ShapeError(f"states must be at least one and all different, got {self.states}")
        first = np.full(K, 1 / K) if start is None else start
        self.transitions = _distributions(transitions, (K, K), "transitions")
        self.start = _distributions(first, (K,), "start")
        self._numbers = {state: number for number, state in enumerate(self.states)}

    def __repr__(self) -> str:
        return f"MarkovChain(states={self.states})"

    @classmethod
    def fit(
        cls, sequences: Iterable[Sequence[State]], *, smoothing: float = 0.0, states: Sequence[State] | None = None
    ) -> Self:
        """Estimate a chain by counting: (count + smoothing) / the row's sum of the same.

        A state that is never left gets a uniform row, with a warning.

        Args:
            sequences: sequences of states; empty ones count nothing.
            smoothing: added to every count; 0 is the maximum likelihood, 1 Laplace's rule.
            states: the states in order; None: those met, in order of appearance.

        Raises:
            ShapeError: there is no state at all, one is not among `states`, or the smoothing is negative.
        """
        sequences = _sequences(sequences)
        if smoothing < 0:
            raise ShapeError(f"smoothing must not be negative, got {smoothing}")
        met = dict.fromkeys(state for sequence in sequences for state in sequence)
        names = list(met) if states is None else list(states)
        if not names:
            raise ShapeError("sequences must hold at least one state, got none")
        unknown = [state for state in met if state not in set(names)]
        if unknown:
            raise ShapeError(f"sequences hold states that are not in `states`: {unknown[:5]}")
        numbers, K = {state: number for number, state in enumerate(names)}, len(names)
        start, moves = np.full(K, float(smoothing)), np.full((K, K), float(smoothing))
        for sequence in sequences:
            path = np.array([numbers[state] for state in sequence], dtype=np.int64)
            start[path[:1]] += 1
            np.add.at(moves, (path[:-1], path[1:]), 1.0)
        return cls(names, _shares(moves, names), _shares(start[None], ["the start"])[0])

    @classmethod
    def from_table(cls, table: Mapping[Any, Mapping[Any, float]], start: Mapping[Any, float] | None = None) -> Self:
        """Read {from: {to: probability}}; what is missing is 0. A pandas DataFrame works through `.T.to_dict()`."""
        names = list(dict.fromkeys([*table, *(to for row in table.values() for to in row)]))
        moves = [[table.get(a, {}).get(b, 0.0) for b in names] for a in names]
        return cls(names, moves, None if start is None else [start.get(name, 0.0) for name in names])

    def to_table(self) -> dict[State, dict[State, float]]:
        """Return {from: {to: probability}}, zeros left out."""
        rows = zip(self.states, self.transitions.tolist(), strict=True)
        return {a: {b: p for b, p in zip(self.states, row, strict=True) if p > 0} for a, row in rows}

    def to_pandas(self) -> Any:
        """Return the transitions as a pandas DataFrame, from row to column."""
        try:
            import pandas
        except ImportError as error:
            raise ShapeError("to_pandas needs pandas: pip install pandas, or use to_table") from error
        return pandas.DataFrame(self.transitions, index=self.states, columns=self.states)

    def graph(self, *, least: float = 0.0) -> ChainGraph:
        """Return the chain as a graph to draw or write: see `seqlab.pictures`."""
        return chain_graph(self.transitions, self.states, start=self.start, least=least)

    def log_probability(self, path: Sequence[State]) -> float:
        """Return log P(path), −inf if it is impossible, 0 for an empty one."""
        tags = torch.tensor(self._path(path), dtype=torch.int64).reshape(-1, 1)
        scores = self._scores()
        silent = torch.zeros(len(tags), 1, len(self.states), dtype=torch.float64)
        return float(chain.path_score(silent, tags, *scores, torch.zeros_like(scores[1]))[0])

    def probability(self, path: Sequence[State]) -> float:
        """Return P(path)."""
        return float(np.exp(self.log_probability(path)))

    def simulate(self, steps: int, *, count: int | None = None, seed: int = 0) -> list[Any]:
        """Draw a path of `steps` states; with `count`, a list of that many.

        The same seed gives the same paths, and the first paths of a larger `count`'s.
        """
        if steps < 0 or (count is not None and count < 0):
            raise ShapeError(f"steps and count must not be negative, got {steps} and {count}")
        paths = np.empty((1 if count is None else count, steps), dtype=np.int64)
        chances = (
            np.stack([np.random.default_rng([seed, row]).random(steps) for row in range(len(paths))])
            if steps
            else paths
        )
        moves, first = self.transitions.cumsum(axis=1), self.start.cumsum()
        for t in range(steps):
            before = np.broadcast_to(first, (len(paths), first.size)) if t == 0 else moves[paths[:, t - 1]]
            drawn = (chances[:, t, None] >= before).sum(axis=1)
            # Rounding may leave the last sum below 1: stay among the states that are possible.
            paths[:, t] = np.minimum(drawn, (before < before[:, -1:]).sum(axis=1))
        named = [[self.states[number] for number in row] for row in paths.tolist()]
        return named[0] if count is None else named

    def after(self, steps: int, start: State | None = None) -> Floats:
        """Return the (K,) distribution after `steps` moves, from one state or from the chain's own start."""
        if steps < 0:
            raise ShapeError(f"steps must not be negative, got {steps}")
        first = self.start if start is None else np.eye(len(self.states))[self._number(start)]
        found: Floats = first @ np.linalg.matrix_power(self.transitions, steps)
        return found

    def classes(self) -> list[list[State]]:
        """Return the communicating classes: states that can reach each other; closed ones, never left, come first."""
        found: dict[tuple[int, ...], bool] = {}
        reach = self._reach()
        for state in range(len(self.states)):
            members = np.flatnonzero(reach[state] & reach[:, state])
            found[tuple(members.tolist())] = bool(reach[state].sum() == members.size)
        ordered = sorted(found, key=lambda members: (not found[members], members))
        return [[self.states[number] for number in members] for members in ordered]

    def stationary(self) -> Floats:
        """Return the (K,) distribution π = π P.

        It is the share of time spent in each state, which the distribution after n steps need not approach: see
        `period`.

        Raises:
            ShapeError: there are several (one for each closed class: see `stationary_distributions`).
        """
        found = self.stationary_distributions()
        if len(found) > 1:
            closed = self.classes()[: len(found)]
            raise ShapeError(
                f"the stationary distribution is not unique: there are {len(found)} closed classes {closed}"
            )
        only: Floats = found[0]
        return only

    def stationary_distributions(self) -> Floats:
        """Return one stationary distribution for each closed class, (classes, K); all others are their mixtures."""
        reach, rows = self._reach(), []
        for members in self.classes():
            inside = np.array([self._numbers[state] for state in members])
            if reach[inside[0]].sum() > inside.size:
                continue
            row = np.zeros(len(self.states))
            row[inside] = _stationary(self.transitions[np.ix_(inside, inside)])
            rows.append(row)
        return np.array(rows)

    def period(self, state: State) -> int:
        """Return the greatest common divisor of the lengths of all ways back to a state; 0 if there is none.

        A breadth-first search gives each state its distance; every edge inside the class closes cycles of length
        distance + 1 − distance (Denardo 1977).
        """
        reach, at = self._reach(), self._number(state)
        inside = reach[at] & reach[:, at]
        distances, queue, divisor = {at: 0}, [at], 0
        for here in queue:
            for there in np.flatnonzero((self.transitions[here] > 0) & inside).tolist():
                if there not in distances:
                    distances[there] = distances[here] + 1
                    queue.append(there)
                divisor = int(np.gcd(divisor, distances[here] + 1 - distances[there]))
        return divisor

    def absorption(self) -> Absorption:
        """Return where and when the chain is absorbed (Kemeny and Snell, theorems 3.2.4 to 3.3.7).

        Raises:
            ShapeError: there is no absorbing state, or one cannot be reached from everywhere.
        """
        ends = np.flatnonzero(np.diag(self.transitions) == 1.0)
        rest = np.setdiff1d(np.arange(len(self.states)), ends)
        stuck = [self.states[i] for i in rest if not self._reach()[i, ends].any()]
        if not ends.size or stuck:
            what = f"none can be reached from {stuck}" if ends.size else "no state has a probability of 1 to stay"
            raise ShapeError(f"the chain must end in absorbing states, but {what}")
        visits = np.asarray(np.linalg.inv(np.eye(rest.size) - self.transitions[np.ix_(rest, rest)]), np.float64)
        into = visits @ self.transitions[np.ix_(rest, ends)]
        transient, absorbing = ([self.states[i] for i in group] for group in (rest, ends))
        return Absorption(transient, absorbing, into, visits.sum(axis=1), visits)

    def hitting_probabilities(self, targets: Iterable[State]) -> Floats:
        """Return the (K,) chances of ever being in one of the targets (Norris, theorem 1.3.2)."""
        aim, can = self._targets(targets)
        free = np.flatnonzero(can & ~aim)
        found = aim.astype(np.float64)
        inner = np.eye(free.size) - self.transitions[np.ix_(free, free)]
        found[free] = np.linalg.solve(inner, self.transitions[np.ix_(free, np.flatnonzero(aim))].sum(axis=1))
        return found.clip(0.0, 1.0)

    def hitting_times(self, targets: Iterable[State]) -> Floats:
        """Return the (K,) expected moves until one of the targets, inf where it may never come (theorem 1.3.5)."""
        targets = list(targets)
        aim, can = self._targets(targets)
        lost = ~can & ~aim
        # A time is finite only where no path leads to a state from which the targets are out of reach,
        # without passing a target first.
        blocked = self.transitions.copy()
        blocked[aim] = np.eye(len(self.states))[aim]
        certain = ~(_reach(blocked) & lost).any(axis=1)
        free = np.flatnonzero(certain & ~aim)
        found = np.where(aim, 0.0, np.inf)
        inner = np.eye(free.size) - self.transitions[np.ix_(free, free)]
        found[free] = np.linalg.solve(inner, np.ones(free.size))
        return found

    @staticmethod
    def order_test(sequences: Iterable[Sequence[State]], order: int = 1) -> OrderTest:
        """Test whether `order` steps of memory are enough, against one more (Anderson and Goodman, section 3).

        Order 0: the states are independent draws. Only histories that occur count for the degrees of freedom. A
        small p-value speaks against the order.

        Args:
            sequences: sequences of states.
            order: at least 0.
        """
        sequences = _sequences(sequences)
        if order < 0:
            raise ShapeError(f"order must not be negative, got {order}")
        longer: dict[tuple[State, ...], dict[State, int]] = {}
        for sequence in sequences:
            for t in range(order + 1, len(sequence)):
                row = longer.setdefault(tuple(sequence[t - order - 1 : t]), {})
                row[sequence[t]] = row.get(sequence[t], 0) + 1
        if not longer:
            raise ShapeError(f"sequences must hold more than {order + 1} states, none does")
        shorter: dict[tuple[State, ...], dict[State, int]] = {}
        for history, row in longer.items():
            total = shorter.setdefault(history[1:], {})
            for state, count in row.items():
                total[state] = total.get(state, 0) + count
        statistic = 2 * (_log_likelihood(longer) - _log_likelihood(shorter))
        histories: dict[tuple[State, ...], int] = {}
        for history in longer:
            histories[history[1:]] = histories.get(history[1:], 0) + 1
        degrees = sum((count - 1) * (len(shorter[history]) - 1) for history, count in histories.items())
        half = torch.tensor([degrees / 2, max(statistic, 0.0) / 2], dtype=torch.float64)
        p_value = float(torch.special.gammaincc(half[0], half[1])) if degrees else 1.0
        return OrderTest(order, max(statistic, 0.0), degrees, p_value)

    def _scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(self.transitions)), torch.from_numpy(np.log(self.start))

    def _number(self, state: State) -> int:
        if state not in self._numbers:
            raise ShapeError(f"state must be one of {self.states}, got {state!r}")
        return self._numbers[state]

    def _path(self, path: Sequence[State]) -> list[int]:
        return [self._number(state) for state in path]

    def _reach(self) -> NDArray[np.bool_]:
        return _reach(self.transitions)

    def _targets(self, targets: Iterable[State]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which states are targets, and from which one of them can be reached."""
        numbers = [self._number(state) for state in targets]
        if not numbers:
            raise ShapeError("targets must name at least one state, got none")
        aim = np.zeros(len(self.states), dtype=bool)
        aim[numbers] = True
        can = np.asarray(self._reach()[:, numbers].any(axis=1))
        return aim, can


def _reach(transitions: Floats) -> NDArray[np.bool_]:
    """Return which state can reach which in any number of steps, 0 included: (K, K), by repeated squaring."""
    K = len(transitions)
    reach = (transitions > 0) | np.eye(K, dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(K))))):
        reach = (reach.astype(np.float64) @ reach) > 0
    return reach


def _stationary(transitions: Floats) -> Floats:
    """Return the stationary distribution of an irreducible chain (Grassmann, Taksar and Heyman 1985).

    The last state is taken out of the chain, its moves handed to those that it would have led to, and so on until one
    is left; then the shares are read back. Nothing is subtracted, so that even a share of 1e-300 has all its digits.
    """
    moves, shares = transitions.copy(), np.ones(len(transitions))
    for last in range(len(moves) - 1, 0, -1):
        moves[:last, last] /= moves[last, :last].sum()
        moves[:last, :last] += np.outer(moves[:last, last], moves[last, :last])
    for state in range(1, len(moves)):
        shares[state] = shares[:state] @ moves[:state, state]
        shares[: state + 1] /= shares[: state + 1].max()  # or they would overflow
    found: Floats = shares / shares.sum()
    return found


def _sequences(values: Iterable[Sequence[State]]) -> list[list[State]]:
    """Return the sequences as lists of states that can be looked up: a tensor's numbers as numbers.

    Raises:
        ShapeError: one sequence came, not a list of them.
    """
    if isinstance(values, str):
        raise ShapeError(f"sequences must be a list of sequences, got one text, {values[:20]!r}: put it in a list")
    found = [row.tolist() if isinstance(row, np.ndarray | torch.Tensor) else row for row in values]
    if not all(isinstance(row, Iterable) for row in found):
        raise ShapeError("sequences must be a list of sequences, got a list of states: put it in a list")
    return [list(row) for row in found]


def _distributions(values: ArrayLike, shape: tuple[int, ...], name: str) -> Floats:
    rows = np.array(values, dtype=np.float64)
    if rows.shape != shape:
        raise ShapeError(f"{name} must have shape {shape}, got {rows.shape}")
    sums = rows.sum(axis=-1)
    if not (rows >= 0).all() or not np.allclose(sums, 1.0, atol=1e-8):
        raise ShapeError(f"{name} must not be negative and sum to 1, got sums {np.round(sums, 6).tolist()}")
    return rows


def _shares(counts: Floats, names: Sequence[State]) -> Floats:
    totals = counts.sum(axis=1, keepdims=True)
    empty = [name for name, total in zip(names, totals[:, 0].tolist(), strict=True) if total == 0]
    if empty:
        warnings.warn(f"no move was counted from {empty}; their rows become uniform", stacklevel=3)
    uniform = np.full(counts.shape, 1 / counts.shape[1])
    shares: Floats = np.where(totals > 0, counts / np.where(totals > 0, totals, 1.0), uniform)
    return shares


def _log_likelihood(table: Mapping[tuple[State, ...], Mapping[State, int]]) -> float:
    """Return Σ n log(n / row sum), the maximum log-likelihood of a table of counts."""
    found = 0.0
    for row in table.values():
        counts = np.array(list(row.values()), dtype=np.float64)
        found += float((counts * np.log(counts / counts.sum())).sum())
    return found
