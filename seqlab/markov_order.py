"""How many steps of memory a sequence has: the likelihood-ratio test of a Markov chain's order.

Source: Anderson and Goodman, "Statistical Inference about Markov Chains" (1957), section 3.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from seqlab.errors import ShapeError

__all__ = ["OrderTest", "as_sequences", "as_states", "order_test"]

State = Hashable


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


def order_test(sequences: Iterable[Sequence[State]], order: int = 1) -> OrderTest:
    """Test whether `order` steps of memory are enough: `MarkovChain.order_test`, where arguments and errors are."""
    rows = as_sequences(sequences)
    if not isinstance(order, int | np.integer) or order < 0:
        raise ShapeError(f"order must be an integer ≥ 0, got {order!r}")
    longer: dict[tuple[State, ...], dict[State, int]] = {}
    for sequence in rows:
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


def as_sequences(values: Iterable[Sequence[State]]) -> list[list[State]]:
    """Return the sequences as lists of states that can be looked up: a tensor's numbers as numbers.

    Raises:
        ShapeError: one sequence came, not a list of them.
    """
    if isinstance(values, str):
        raise ShapeError(f"sequences must be a list of sequences, got one text, {values[:20]!r}: put it in a list")
    found = [row.tolist() if isinstance(row, np.ndarray | torch.Tensor) else row for row in values]
    if not all(isinstance(row, Iterable) for row in found):
        raise ShapeError("sequences must be a list of sequences, got a list of states: put it in a list")
    return [as_states(row) for row in found]


def as_states(values: Iterable[State]) -> list[State]:
    """Return states that can be looked up: those of a tensor or an array as numbers.

    Raises:
        ShapeError: they are no list, or one of them is no name or number.
    """
    if not isinstance(values, Iterable):
        raise ShapeError(f"states must be a list, got {values!r}")
    found: list[Any] = values.tolist() if isinstance(values, np.ndarray | torch.Tensor) else list(values)
    names: list[State] = [cast(State, state.tolist()) if isinstance(state, torch.Tensor) else state for state in found]
    for state in names:
        if not isinstance(state, Hashable):
            raise ShapeError(f"a state must be a name or a number, got {state!r}")
    return names


def _log_likelihood(table: Mapping[tuple[State, ...], Mapping[State, int]]) -> float:
    """Return Σ n log(n / row sum), the maximum log-likelihood of a table of counts."""
    found = 0.0
    for row in table.values():
        counts = np.array(list(row.values()), dtype=np.float64)
        found += float((counts * np.log(counts / counts.sum())).sum())
    return found
