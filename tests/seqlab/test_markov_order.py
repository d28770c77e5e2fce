"""The test of a chain's order: on simulated chains, and by hand."""

import math

import numpy as np
import pytest

from seqlab.markov import MarkovChain, OrderTest
from seqlab.markov_order import order_test

DOG = MarkovChain(["睡觉", "吃饭", "便便"], [[0.4, 0.2, 0.4], [0.45, 0.45, 0.1], [0.45, 0.25, 0.3]], [0.35, 0.35, 0.3])


def test_order_test():
    pairs = DOG.simulate(200, count=20, seed=2)
    assert MarkovChain.order_test(pairs, 0).p_value < 1e-6
    assert MarkovChain.order_test(pairs, 1).p_value > 0.01
    coins = MarkovChain("HT", [[0.5, 0.5], [0.5, 0.5]]).simulate(200, count=20, seed=4)
    found = MarkovChain.order_test(coins, 0)
    assert (found.order, found.degrees) == (0, 1)
    assert found.p_value > 0.01
    # A second-order sequence: the next letter repeats the last but one.
    alternating = [list("aabb" * 30)]
    assert MarkovChain.order_test(alternating, 1).p_value < 1e-6


def test_order_test_statistic_by_hand():
    """A 2 × 2 table of counts n_ij: G = 2 Σ n log(n · N / (row · column)), one degree of freedom."""
    found = MarkovChain.order_test(["abaabbab"], 0)
    counts = np.array([[1, 3], [2, 1]])
    outer = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    statistic = 2 * (counts * np.log(counts / outer)).sum()
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(statistic / 2)))


def test_without_a_history_that_varies_nothing_speaks_against_the_order():
    assert order_test(["ababab"], 1) == OrderTest(1, 0.0, 0, 1.0)
