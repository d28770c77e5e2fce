"""Minima that are known."""

import numpy as np
import pytest

from seqlab.errors import ShapeError
from seqlab.tagging.lbfgs import StopRule, minimise

STRICT = StopRule(epsilon=1e-9, delta=0.0)


def rosenbrock(x):
    a, b = 1 - x[0], x[1] - x[0] ** 2
    return a * a + 100 * b * b, np.array([-2 * a - 400 * x[0] * b, 200 * b])


def quadratic(size=50, seed=0):
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(size, size))
    hessian, middle = root @ root.T + np.eye(size), draw.normal(size=size)
    return lambda x: (0.5 * (x - middle) @ hessian @ (x - middle), hessian @ (x - middle)), hessian, middle


def test_rosenbrocks_valley():
    found = minimise(rosenbrock, np.array([-1.2, 1.0]), STRICT)
    np.testing.assert_allclose(found.point, [1, 1], atol=1e-7)
    assert found.reason == "epsilon"
    assert found.iterations < 60
    assert found.evaluations < 100


@pytest.mark.parametrize("memory", [1, 6, 20])
def test_a_quadratic_bowl(memory):
    function, _, middle = quadratic()
    found = minimise(function, np.zeros(50), STRICT, memory=memory)
    np.testing.assert_allclose(found.point, middle, atol=1e-6)


def test_the_direction_is_the_two_loops(monkeypatch):
    """The coefficients give the same direction as algorithm 7.4 on the vectors themselves."""
    from seqlab.tagging.lbfgs import _Pairs

    draw, pairs, kept = np.random.default_rng(0), _Pairs(3, 7), []
    for _ in range(5):
        step = draw.normal(size=7)
        change = step * draw.uniform(0.5, 2.0, 7)
        pairs.add(step, change)
        kept.append((step, change))
        slope = draw.normal(size=7)
        q, alphas = slope.copy(), []
        for s, y in reversed(kept[-3:]):
            alphas.append(s @ q / (s @ y))
            q -= alphas[-1] * y
        q *= step @ change / (change @ change)
        for (s, y), alpha in zip(kept[-3:], reversed(alphas), strict=True):
            q += s * (alpha - y @ q / (s @ y))
        np.testing.assert_allclose(pairs.direction(slope), -q, rtol=1e-9)


def test_an_l1_penalty_gives_zeros_and_the_optimality_conditions_hold():
    function, _, _ = quadratic()
    penalty = np.full(50, 8.0)
    found = minimise(function, np.zeros(50), StopRule(epsilon=1e-8, delta=0.0, max_iterations=5000), l1=penalty)
    _, gradient = function(found.point)
    zero = found.point == 0
    assert 0 < zero.sum() < 50
    assert (np.abs(gradient[zero]) <= 8.0 + 1e-6).all()
    np.testing.assert_allclose(gradient[~zero], -8.0 * np.sign(found.point[~zero]), atol=1e-4)


def test_stops():
    function, _, _ = quadratic()
    assert minimise(function, np.zeros(50), StopRule(max_iterations=3)).reason == "max_iterations"
    seen = []
    loose = minimise(function, np.zeros(50), StopRule(epsilon=0, delta=0.5, period=2), report=lambda *x: seen.append(x))
    assert loose.reason == "delta"
    assert [step for step, _ in seen] == list(range(1, loose.iterations + 1))
    assert seen[-1][1] == loose.value
    exact = minimise(lambda x: (0.5 * float(x @ x), x.copy()), np.zeros(3), STRICT)
    assert (exact.reason, exact.iterations) == ("epsilon", 0)


def test_a_function_with_walls():
    """Where the function is infinite or NaN the step is too long."""

    def barrier(x):
        inside = x[0] > 0
        return (float(x[0] - np.log(x[0])), 1 - 1 / x) if inside else (float("nan"), x * float("nan"))

    found = minimise(barrier, np.array([0.01]), STRICT)
    np.testing.assert_allclose(found.point, [1.0], atol=1e-6)
    with pytest.raises(ShapeError, match="finite at the start, got nan"):
        minimise(barrier, np.array([-1.0]), STRICT)
