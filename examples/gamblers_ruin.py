"""The gambler's ruin: where a chain with absorbing states ends, and after how many steps.

A gambler with 2 of 5 coins bets one on each flip, until all are lost or won. By the fundamental matrix of the chain
(Kemeny and Snell 1960): with a fair coin all is won with probability 2/5, after 2 · 3 flips on average. With
probability p < 1/2 of winning a flip and r = (1 − p)/p the chance drops to (1 − r²)/(1 − r⁵) (Feller, volume 1, XIV.2).
"""

import math

from seqlab.markov import MarkovChain

GOAL, OWNED = 5, 2


def game(p: float) -> MarkovChain:
    """Return the chain of a gambler's coins: up with probability p, down otherwise, the end at 0 and `GOAL`."""
    table = {coins: {coins + 1: p, coins - 1: 1 - p} for coins in range(1, GOAL)}
    return MarkovChain.from_table({0: {0: 1.0}} | table | {GOAL: {GOAL: 1.0}})


for p in (0.5, 0.45, 0.3):
    found = game(p).absorption()
    row = found.transient.index(OWNED)
    won = found.probabilities[row, found.absorbing.index(GOAL)]
    print(f"p = {p:.2f}: all is won with probability {won:.4f}; it takes {found.steps[row]:.2f} flips on average")
    r = (1 - p) / p
    assert math.isclose(won, OWNED / GOAL if p == 0.5 else (1 - r**OWNED) / (1 - r**GOAL))

fair = game(0.5)
assert math.isclose(fair.hitting_times([0, GOAL])[fair.states.index(OWNED)], OWNED * (GOAL - OWNED))
print("classes:", fair.classes(), "- 0 and 5 are never left, what lies between is left for good")
