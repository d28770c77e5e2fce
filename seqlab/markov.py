"""Markov chains: the next state depends on the present one alone.

    P(y_1, …, y_n) = start[y_1] · Π_t transition[y_t, y_{t+1}]

`MarkovChain` is estimated from sequences of named states, or written down, and answers what textbooks ask of it:
path probabilities, where it will be after n steps, where in the long run, how long until it gets somewhere, and
whether one step of memory is enough. Sources: Norris, "Markov Chains" (1997), chapter 1; Kemeny and Snell, "Finite
Markov Chains" (1960), chapter 3 (fundamental matrix). The test of the order is in
`seqlab.markov_order`, the linear systems are in `seqlab.markov_elimination`.
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seqlab import chain
from seqlab.errors import ConfigError, ShapeError
from seqlab.markov_elimination import solve_transient, stationary
from seqlab.markov_order import OrderTest, as_sequences, as_states, order_test
from seqlab.pictures import ChainGraph, chain_graph

__all__ = ["Absorption", "MarkovChain", "OrderTest", "Table"]

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


class Table(dict[State, dict[State, float]]):
    """{from: {to: probability}}, a dict like any other, zeros left out.

    Attributes:
        start: {state: probability} to begin there, zeros left out; None: nothing is said about it.
    """

    start: dict[State, float] | None = None


class MarkovChain:
    """A chain over named states.

    Args:
        states: the K names, all different.
        transitions: (K, K), each row sums to 1 within 1e-5 and is divided by its sum: from row to column.
        start: (K,), likewise; None: uniform, and left out of tables and pictures.

    Attributes:
        states: the names.
        transitions: (K, K), float64.
        start: (K,), float64.

    Raises:
        ShapeError: a shape is wrong, a name occurs twice, or a row is no distribution.
    """

    def __init__(self, states: Sequence[State], transitions: ArrayLike, start: ArrayLike | None = None) -> None:
        self.states = as_states(states)
        K = len(self.states)
        if K == 0 or len(set(self.states)) != K:
            raise ShapeError(f"states must be at least one and all different, got {self.states}")
        first = np.full(K, 1 / K) if start is None else start
        self.transitions = _distributions(transitions, (K, K), "transitions")
        self.start = _distributions(first, (K,), "start")
        self._start_given = start is not None
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
            smoothing: added to every count, 0 ≤ smoothing < inf; 0 is the maximum likelihood, 1 Laplace's rule.
            states: the states in order; None: those met, in order of appearance.

        Raises:
            ShapeError: there is no state at all, one is not among `states`, or the smoothing is out of range.
        """
        sequences = as_sequences(sequences)
        if not isinstance(smoothing, Real) or not 0 <= float(smoothing) < np.inf:
            raise ShapeError(f"smoothing must be a number, 0 ≤ smoothing < inf, got {smoothing!r}")
        met = dict.fromkeys(state for sequence in sequences for state in sequence)
        names = list(met) if states is None else as_states(states)
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
    def from_table(cls, table: Any, start: Mapping[Any, float] | None = None) -> Self:
        """Read what `to_table` or `to_pandas` returned, or any such table.

        Args:
            table: {from: {to: probability}}, where what is missing is 0; or a pandas DataFrame, from row to column.
            start: {state: probability}; None: what the table knows of it (`Table.start`, or a DataFrame's
                `attrs["start"]`), or uniform.

        Raises:
            ShapeError: the table is of another kind, a row is no distribution, or `start` names a state that the
                table does not.
        """
        if hasattr(table, "to_dict") and hasattr(table, "attrs"):
            known, table = table.attrs.get("start"), table.T.to_dict()
        else:
            known = getattr(table, "start", None)
        if not isinstance(table, Mapping) or not all(isinstance(row, Mapping) for row in table.values()):
            kind = type(table).__name__
            raise ShapeError(f"table must be {{from: {{to: probability}}}} or a pandas DataFrame, got {kind}")
        start = known if start is None else start
        names = list(dict.fromkeys([*table, *(to for row in table.values() for to in row)]))
        moves = [[table.get(a, {}).get(b, 0.0) for b in names] for a in names]
        if start is None:
            return cls(names, moves)
        if not isinstance(start, Mapping):
            raise ShapeError(f"start must be {{state: probability}} or None, got {type(start).__name__}")
        unknown = [name for name in start if name not in set(names)]
        if unknown:
            raise ShapeError(f"start must name states of the table, {names}, got {unknown} too")
        return cls(names, moves, [start.get(name, 0.0) for name in names])

    def to_table(self) -> Table:
        """Return {from: {to: probability}}, zeros left out; the start, if it was given, is its attribute `start`."""
        table = Table(zip(self.states, map(self._shown, self.transitions), strict=True))
        table.start = self._shown(self.start) if self._start_given else None
        return table

    def _shown(self, row: Floats) -> dict[State, float]:
        return {name: p for name, p in zip(self.states, row.tolist(), strict=True) if p > 0}

    def to_pandas(self) -> Any:
        """Return the transitions as a pandas DataFrame, from row to column.

        The start, if it was given, is `attrs["start"]`, {state: probability}; a CSV file does not hold it.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError("to_pandas needs pandas: pip install pandas, or use to_table") from error
        frame = pandas.DataFrame(self.transitions, index=self.states, columns=self.states)
        if self._start_given:
            frame.attrs["start"] = self._shown(self.start)
        return frame

    def graph(self, *, least: float = 0.0, start: bool | None = None) -> ChainGraph:
        """Return the chain as a graph to draw or write: see `seqlab.pictures`.

        Args:
            least: edges with a probability of at most this are left out.
            start: whether each state's probability to begin there is written in it; None: if it was given, or
                estimated by `fit`.
        """
        written = self._start_given if start is None else start
        return chain_graph(self.transitions, self.states, start=self.start if written else None, least=least)

    def log_probability(self, path: Sequence[State]) -> float:
        """Return log P(path), −inf if it is impossible, 0 for an empty one."""
        tags = torch.tensor(self._path(path), dtype=torch.int64).reshape(-1, 1)
        scores = self._scores()
        silent = torch.zeros(len(tags), 1, len(self.states), dtype=torch.float64)
        return float(chain.path_score(silent, tags, *scores, torch.zeros_like(scores[1]))[0])

    def probability(self, path: Sequence[State]) -> float:
        """Return P(path)."""
        return float(np.exp(self.log_probability(path)))

    def simulate(self, steps: int, *, count: int | None = None, seed: int | np.random.Generator = 0) -> list[Any]:
        """Draw a path of `steps` states; with `count`, a list of that many.

        The same seed, or a generator in the same state, gives the same paths, and the first paths of a larger
        `count`'s.

        Raises:
            ShapeError: `steps` or `count` is no integer ≥ 0, or the seed is none and no numpy Generator.
        """
        _check_count("steps", steps)
        _check_count("count", 0 if count is None else count)
        paths = np.empty((1 if count is None else count, steps), dtype=np.int64)
        chances = _chances(seed, *paths.shape)
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
        _check_count("steps", steps)
        found, power = self.start if start is None else np.eye(len(self.states))[self._number(start)], self.transitions
        while steps:
            if steps & 1:
                found = found @ power
            steps >>= 1
            if steps:
                power = power @ power
                power /= power.sum(axis=1, keepdims=True)  # or rounding would double with each squaring
        return np.array(found / found.sum())

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
            row[inside] = stationary(self.transitions[np.ix_(inside, inside)])
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
        ended = np.asarray(self._reach()[:, ends].any(axis=1))
        stuck = [self.states[i] for i in rest if not ended[i]]
        if not ends.size or stuck:
            what = f"none can be reached from {stuck}" if ends.size else "no state has a probability of 1 to stay"
            raise ShapeError(f"the chain must end in absorbing states, but {what}")
        into = self.transitions[np.ix_(rest, ends)]
        rewards = np.hstack([into, np.ones((rest.size, 1)), np.eye(rest.size)])
        found = solve_transient(self.transitions[np.ix_(rest, rest)], into.sum(axis=1), rewards)
        chances, steps, visits = np.split(found, [ends.size, ends.size + 1], axis=1)
        transient, absorbing = ([self.states[i] for i in group] for group in (rest, ends))
        return Absorption(transient, absorbing, chances, steps[:, 0], visits)

    def hitting_probabilities(self, targets: State | Iterable[State]) -> Floats:
        """Return the (K,) chances of ever being in one of the targets, or in the one (Norris, theorem 1.3.2)."""
        aim, can = self._targets(targets)
        free = np.flatnonzero(can & ~aim)
        found = aim.astype(np.float64)
        into = self.transitions[np.ix_(free, np.flatnonzero(aim))].sum(axis=1, keepdims=True)
        found[free] = self._until_left(free, into)
        return found.clip(0.0, 1.0)

    def hitting_times(self, targets: State | Iterable[State]) -> Floats:
        """Return the (K,) expected moves until one of the targets, or the one, inf where it may never come.

        Norris, theorem 1.3.5.
        """
        aim, can = self._targets(targets)
        lost = ~can & ~aim
        # A time is finite only where no path leads to a state from which the targets are out of reach,
        # without passing a target first.
        blocked = self.transitions.copy()
        blocked[aim] = np.eye(len(self.states))[aim]
        certain = ~(_reach(blocked) & lost).any(axis=1)
        free = np.flatnonzero(certain & ~aim)
        found = np.where(aim, 0.0, np.inf)
        found[free] = self._until_left(free, np.ones((free.size, 1)))
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
        return order_test(sequences, order)

    def _until_left(self, inside: Ints, rewards: Floats) -> Floats:
        """Return what is collected, (n,), of rewards (n, 1) per visit, until the chain leaves n of the states."""
        outside = np.setdiff1d(np.arange(len(self.states)), inside)
        exits = self.transitions[np.ix_(inside, outside)].sum(axis=1)
        return solve_transient(self.transitions[np.ix_(inside, inside)], exits, rewards)[:, 0]

    def _scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(self.transitions)), torch.from_numpy(np.log(self.start))

    def _number(self, state: State) -> int:
        if isinstance(state, torch.Tensor):
            state = cast(State, state.tolist())
        if not isinstance(state, Hashable) or state not in self._numbers:
            raise ShapeError(f"state must be one of {self.states}, got {state!r}")
        return self._numbers[state]

    def _path(self, path: Sequence[State]) -> list[int]:
        return [self._number(state) for state in as_states(path)]

    def _reach(self) -> NDArray[np.bool_]:
        return _reach(self.transitions)

    def _targets(self, targets: State | Iterable[State]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which states are targets, and from which one of them can be reached."""
        if isinstance(targets, np.ndarray | torch.Tensor):
            targets = cast(State | list[State], targets.tolist())
        one = isinstance(targets, str) or not isinstance(targets, Iterable)
        if one or (isinstance(targets, Hashable) and targets in self._numbers):
            targets = [cast(State, targets)]
        assert isinstance(targets, Iterable)
        numbers = [self._number(state) for state in targets]
        if not numbers:
            raise ShapeError("targets must name at least one state, got none")
        aim = np.zeros(len(self.states), dtype=bool)
        aim[numbers] = True
        can = np.asarray(self._reach()[:, numbers].any(axis=1))
        return aim, can


def _chances(seed: int | np.random.Generator, rows: int, steps: int) -> Floats:
    """Draw (rows, steps) uniform numbers, the same in a row whatever the number of rows."""
    if isinstance(seed, np.random.Generator):
        return seed.random((rows, steps))
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ShapeError(f"seed must be an integer ≥ 0 or a numpy Generator, got {seed!r}")
    chances = np.empty((rows, steps))
    for row in range(rows):
        chances[row] = np.random.default_rng([int(seed), row]).random(steps)
    return chances


def _reach(transitions: Floats) -> NDArray[np.bool_]:
    """Return which state can reach which in any number of steps, 0 included: (K, K), by repeated squaring."""
    K = len(transitions)
    reach = (transitions > 0) | np.eye(K, dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(K))))):
        reach = (reach.astype(np.float64) @ reach) > 0
    return reach


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 0:
        raise ShapeError(f"{name} must be an integer ≥ 0, got {value!r}")


def _distributions(values: ArrayLike, shape: tuple[int, ...], name: str) -> Floats:
    """Return distributions in the last axis that sum to 1 but for rounding; what was printed to six digits may come."""
    try:
        rows = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} must be numbers of shape {shape}, got what is no such array: {error}") from None
    if rows.shape != shape:
        raise ShapeError(f"{name} must have shape {shape}, got {rows.shape}")
    sums = rows.sum(axis=-1, keepdims=True)
    if not (rows >= 0).all() or not np.allclose(sums, 1.0, atol=1e-8):
        raise ShapeError(f"{name} must not be negative and sum to 1, got sums {np.round(sums[..., 0], 6).tolist()}")
    # What already sums to 1 within rounding stays as it is, so that a table read back is the same to the last bit.
    rounding = 2 * shape[-1] * np.finfo(np.float64).eps
    exact: Floats = np.where(np.abs(sums - 1.0) <= rounding, rows, rows / sums)
    return exact


def _shares(counts: Floats, names: Sequence[State]) -> Floats:
    totals = counts.sum(axis=1, keepdims=True)
    empty = [name for name, total in zip(names, totals[:, 0].tolist(), strict=True) if total == 0]
    if empty:
        warnings.warn(f"no move was counted from {empty}; their rows become uniform", stacklevel=3)
    uniform = np.full(counts.shape, 1 / counts.shape[1])
    shares: Floats = np.where(totals > 0, counts / np.where(totals > 0, totals, 1.0), uniform)
    return shares
