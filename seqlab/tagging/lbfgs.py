"""L-BFGS: minimising a smooth function of many variables, with an optional L1 penalty (OWL-QN).

Newton's direction −H⁻¹g needs the Hessian H. L-BFGS (Nocedal and Wright 2006, *Numerical Optimization*,
algorithms 7.4 and 7.5) stands in for H⁻¹ with the last m pairs of steps s = x' − x and changes of the gradient
y = g' − g. The direction is a combination of those 2m + 1 vectors alone, so its coefficients follow from their
inner products (Chen, Wang and Zhou 2014, "Large-scale L-BFGS using MapReduce"): the long vectors are read twice a
step instead of some 8m times.

With a penalty c₁|x| the function has kinks where a coordinate is 0. OWL-QN (Andrew and Gao 2007, "Scalable training
of L1-regularized log-linear models") takes the gradient of the side on which the function falls, and stops every
coordinate of a step at 0.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlab.errors import ShapeError

__all__ = ["Minimum", "StopRule", "dot", "minimise"]

Floats = NDArray[Any]
Function = Callable[[Floats], tuple[float, Floats]]
ARMIJO, WOLFE = 1e-4, 0.9
MAX_TRIALS = 30
BLOCK = 4096


@dataclass(frozen=True)
class StopRule:
    """When to stop; the names and meanings are CRFsuite's.

    Attributes:
        max_iterations: number of steps.
        epsilon: stop when |gradient| / max(1, |x|) falls below it.
        period: see `delta`.
        delta: stop when the last `period` steps lowered the value by less than this share of it.
    """

    max_iterations: int = 1000
    epsilon: float = 1e-5
    period: int = 10
    delta: float = 1e-5


class Minimum(NamedTuple):
    """Where the search ended.

    Attributes:
        point: (n,).
        value: the function there, penalty included.
        iterations: steps taken.
        evaluations: calls of the function.
        reason: "epsilon", "delta", "max_iterations" or "line search": no lower point could be found.
    """

    point: Floats
    value: float
    iterations: int
    evaluations: int
    reason: str


def minimise(
    function: Function,
    start: Floats,
    stop: StopRule,
    *,
    memory: int = 6,
    l1: Floats | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Minimum:
    """Find a minimum of function(x) + Σ l1·|x|.

    Args:
        function: returns value and gradient (n,) at a point (n,), and keeps neither.
        start: (n,), float64.
        stop: when to stop.
        memory: m, how many pairs to remember.
        l1: (n,), ≥ 0, the penalty of each coordinate; None: no penalty.
        report: told the number of each step and the value after it.

    Raises:
        ShapeError: the function is not finite at `start`.
    """
    search = _Search(function, l1)
    here = search.at(start)
    if not np.isfinite(here.value):
        raise ShapeError(f"the function to minimise must be finite at the start, got {here.value}")
    pairs, values, iteration = _Pairs(memory, start.size), [here.value], 0
    while True:
        size = dot(here.slope, here.slope) ** 0.5
        if size <= stop.epsilon * max(1.0, dot(here.point, here.point) ** 0.5):
            return Minimum(here.point, here.value, iteration, search.calls, "epsilon")
        if iteration >= stop.max_iterations:
            return Minimum(here.point, here.value, iteration, search.calls, "max_iterations")
        direction = pairs.direction(here.slope)
        if l1 is not None:  # OWL-QN: only where the model and the slope agree
            direction[direction * here.slope > 0] = 0.0
        found = search.along(here, direction, 1.0 / size if pairs.count == 0 else 1.0)
        if found is None and pairs.count:  # the remembered pairs mislead: forget them, go straight down
            pairs = _Pairs(memory, start.size)
            continue
        if found is None:
            return Minimum(here.point, here.value, iteration, search.calls, "line search")
        pairs.add(found.point - here.point, found.gradient - here.gradient)
        here, iteration = found, iteration + 1
        values.append(here.value)
        if report is not None:
            report(iteration, here.value)
        if iteration >= stop.period:
            fall = values[-1 - stop.period] - here.value
            if fall <= stop.delta * abs(here.value):
                return Minimum(here.point, here.value, iteration, search.calls, "delta")


def dot(a: Floats, b: Floats) -> float:
    """Return Σ a·b, added up in one order by one thread: BLAS would wake threads for less work than that costs."""
    return float(np.einsum("i,i->", a, b))


class _Place(NamedTuple):
    point: Floats  # (n,)
    value: float  # with the penalty
    gradient: Floats  # (n,), without the penalty
    slope: Floats  # (n,), with it: where there is a kink, of the side on which the function falls


class _Search:
    """The function with its penalty, and the search for a lower point along a line."""

    def __init__(self, function: Function, l1: Floats | None) -> None:
        self.function, self.l1, self.calls = function, l1, 0

    def at(self, point: Floats) -> _Place:
        value, gradient = self.function(point)
        self.calls += 1
        if self.l1 is None:
            return _Place(point, value, gradient, gradient)
        right, left = gradient + self.l1, gradient - self.l1
        at_zero = np.where(right < 0, right, np.where(left > 0, left, 0.0))
        slope = np.where(point > 0, right, np.where(point < 0, left, at_zero))
        return _Place(point, value + dot(self.l1, np.abs(point)), gradient, slope)

    def along(self, here: _Place, direction: Floats, step: float) -> _Place | None:
        """Find a step that lowers the value enough and, without a penalty, flattens the slope (weak Wolfe).

        The interval is doubled until it holds such a step, then halved (Lewis and Overton 2013, algorithm 2.6).
        """
        low, high, fall = 0.0, np.inf, dot(here.slope, direction)
        if not fall < 0:
            return None
        lowest: _Place | None = None
        for _ in range(MAX_TRIALS):
            there = self.at(self._stopped_at_zero(here, here.point + step * direction))
            expected = step * fall if self.l1 is None else dot(here.slope, there.point - here.point)
            if not there.value <= here.value + ARMIJO * expected:  # NaN and infinity are too high, too
                high = step
            else:
                lowest = there
                if self.l1 is not None or dot(there.slope, direction) >= WOLFE * fall:
                    return there
                low = step
            step = (low + high) / 2 if np.isfinite(high) else 2 * low
        return lowest

    def _stopped_at_zero(self, here: _Place, point: Floats) -> Floats:
        if self.l1 is not None:
            orthant = np.where(here.point != 0, np.sign(here.point), -np.sign(here.slope))
            point[point * orthant <= 0] = 0.0
        return point


class _Pairs:
    """The last m pairs (s, y) and the direction they give."""

    def __init__(self, memory: int, size: int) -> None:
        self.memory, self.count, self._next = memory, 0, 0
        self._basis = np.zeros((2 * memory + 1, size))  # m rows s, m rows y, the slope
        self._products = np.zeros((2 * memory + 1, 2 * memory + 1))  # of all rows with each other

    def add(self, step: Floats, change: Floats) -> None:
        """Remember a pair, in place of the oldest; one that shows no curvature is left out.

        A call of `direction` must follow, which takes in its products.
        """
        if dot(step, change) <= 1e-10 * dot(change, change):
            return
        row = self._next % self.memory
        self._basis[row], self._basis[self.memory + row] = step, change
        self._next, self.count = self._next + 1, min(self.count + 1, self.memory)

    def direction(self, slope: Floats) -> Floats:
        """Return −H⁻¹ · slope, (n,), by the two loops of algorithm 7.4 on coefficients."""
        m, last = self.memory, 2 * self.memory
        if self.count == 0:
            return -slope
        self._basis[last] = slope
        newest = (self._next - 1) % m
        changed = [newest, m + newest, last]
        products = np.zeros((2 * m + 1, 3))
        for block in self._blocks():
            products += block @ block[changed].T
        self._products[:, changed] = products
        self._products[changed, :] = products.T
        coefficients, alphas = np.zeros(2 * m + 1), np.zeros(m)
        coefficients[last] = -1.0
        order = [(self._next - 1 - age) % m for age in range(self.count)]  # newest first
        for row in order:
            alphas[row] = coefficients @ self._products[row] / self._products[row, m + row]
            coefficients[m + row] -= alphas[row]
        coefficients *= self._products[newest, m + newest] / self._products[m + newest, m + newest]
        for row in reversed(order):
            beta = coefficients @ self._products[m + row] / self._products[row, m + row]
            coefficients[row] += alphas[row] - beta
        direction = np.empty_like(slope)
        for begin, block in zip(range(0, slope.size, BLOCK), self._blocks(), strict=True):
            np.matmul(coefficients, block, out=direction[begin : begin + BLOCK])
        return direction

    def _blocks(self) -> Iterator[Floats]:
        """Yield the basis in pieces (2m + 1, ≤ BLOCK) that stay in the cache, and that BLAS leaves to one thread."""
        for begin in range(0, self._basis.shape[1], BLOCK):
            yield self._basis[:, begin : begin + BLOCK]
