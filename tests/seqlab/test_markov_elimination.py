"""Elimination without subtraction against the equations it solves; its precision is tested in `test_markov`."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.markov_elimination import solve_transient, stationary


@given(st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_elimination_solves_the_fundamental_equation(n, seed):
    draw = np.random.default_rng(seed)
    rows, rewards = draw.dirichlet(np.ones(n + 1), size=n), draw.random((n, 2))
    found = solve_transient(rows[:, :n], rows[:, n], rewards)
    np.testing.assert_allclose(found - rows[:, :n] @ found, rewards, rtol=1e-8, atol=1e-10)


@given(st.integers(1, 8), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_stationary_distribution_stays(K, seed):
    moves = np.random.default_rng(seed).dirichlet(np.ones(K), size=K)
    found = stationary(moves)
    np.testing.assert_allclose(found @ moves, found, rtol=1e-8)
    np.testing.assert_allclose(found.sum(), 1)


def test_no_transient_state():
    assert solve_transient(np.zeros((0, 0)), np.zeros(0), np.zeros((0, 2))).shape == (0, 2)
