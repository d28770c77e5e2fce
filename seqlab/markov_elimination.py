"""Linear systems of Markov chains, solved by taking states out one after another (Grassmann, Taksar and Heyman 1985).

A state that is taken out hands its moves to the states that it would have led to. The chance of leaving it is added up
from the moves to other states, never taken as 1 less the chance of staying. So nothing is subtracted, and a result of
1e-300 has all its digits.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["solve_transient", "stationary"]

Floats = NDArray[np.float64]


def stationary(transitions: Floats) -> Floats:
    """Return the stationary distribution of an irreducible chain, (K,).

    Args:
        transitions: (K, K).
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


def solve_transient(moves: Floats, exits: Floats, rewards: Floats) -> Floats:
    """Return x = (I − Q)⁻¹ r, (n, m): what n transient states collect until the chain leaves them.

    Args:
        moves: Q, (n, n), from one transient state to another; its diagonal is not read.
        exits: (n,), the chance to leave them; a row of Q and its exit sum to 1. From everywhere there is a way out.
        rewards: r, (n, m), not negative: what a visit brings.
    """
    moves, exits, found = moves.copy(), exits.copy(), rewards.astype(np.float64)
    leaving = exits.copy()
    for last in range(len(moves) - 1, -1, -1):
        leaving[last] = moves[last, :last].sum() + exits[last]
        shares = moves[:last, last] / leaving[last]  # (last,)
        moves[:last, :last] += np.outer(shares, moves[last, :last])
        exits[:last] += shares * exits[last]
        found[:last] += np.outer(shares, found[last])
    for state in range(len(moves)):
        found[state] = (found[state] + moves[state, :state] @ found[:state]) / leaving[state]
    return found
