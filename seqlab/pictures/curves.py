"""Curves between nodes, and places for their labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Points", "arc", "label_place", "loop", "outside_box", "outside_circle"]

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]

SAMPLES = 64


def arc(source: Points, target: Points, bend: float) -> Points:
    """Return (n, 2) points of a quadratic Bézier curve that leaves the straight line by `bend` to the left."""
    along = target - source
    left = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    control = (source + target) / 2 + 2 * bend * left
    t = np.linspace(0, 1, SAMPLES)[:, None]
    points: Points = (1 - t) ** 2 * source + 2 * t * (1 - t) * control + t**2 * target
    return points


def loop(center: Points, radius: float, direction: Points, size: float) -> Points:
    """Return (n, 2) points of a loop that leaves a circle and comes back on the side of the unit vector `direction`."""
    sideways = np.array([-direction[1], direction[0]])
    begin, finish = (center + radius * (0.86 * direction + side * 0.5 * sideways) for side in (1, -1))
    away = radius * 0.86 + size * 4 / 3
    out, back = (center + away * direction + side * (0.5 * radius + 0.6 * size) * sideways for side in (1, -1))
    t = np.linspace(0, 1, SAMPLES)[:, None]
    points: Points = (1 - t) ** 3 * begin + 3 * t * (1 - t) ** 2 * out + 3 * t**2 * (1 - t) * back + t**3 * finish
    return points


def outside_circle(points: Points, center: Points, radius: float) -> Points:
    """Cut off what lies in a circle."""
    outside: Points = points[np.hypot(*(points - center).T) >= radius]
    return outside


def outside_box(points: Points, center: Points, width: float, height: float) -> Points:
    """Cut off what lies in a box of this size around a place."""
    distance = np.abs(points - center)
    return points[(distance[:, 0] >= width / 2) | (distance[:, 1] >= height / 2)]


def label_place(curve: Points, size: tuple[float, float], taken: Sequence[Box], others: Points) -> tuple[float, float]:
    """Choose where along a curve its label hides least.

    Args:
        curve: (n, 2), the curve.
        size: width and height of the label.
        taken: labels and nodes already there, as left, bottom, right, top: not to be touched.
        others: (m, 2) points of all other curves: better not covered.
    """
    width, height = size
    best, best_cost = (0.0, 0.0), np.inf
    for share in (0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74, 0.2, 0.8, 0.14, 0.86):
        x, y = curve[round(share * (len(curve) - 1))].tolist()
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        covered = (np.abs(others[:, 0] - x) < width / 2) & (np.abs(others[:, 1] - y) < height / 2)
        cost = 100 * sum(_overlap(box, other) for other in taken) / (width * height)
        cost += 0.4 * int(covered.sum()) + 2 * abs(share - 0.5)
        if cost < best_cost:
            best, best_cost = (x, y), cost
    return best


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
