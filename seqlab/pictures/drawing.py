"""Graphs as pictures: states on a circle, or hidden states in a row above their symbols."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqlab.pictures.canvas import COLORS, FAINT, Canvas, opened
from seqlab.pictures.curves import Box, Points, arc, label_place, loop, outside_box, outside_circle
from seqlab.pictures.graphs import ChainGraph, check_graph, probability_text

__all__ = ["draw_graph"]

NAME_SIZE, NUMBER_SIZE, START_SIZE = 11.0, 9.0, 7.5
SMALLEST_RADIUS, LARGEST_RADIUS = 0.36, 0.62
SMALLEST_NAME = 6.5
LOOP_SIZE = 0.42


class Spot(NamedTuple):
    """Where a node is drawn and how.

    Attributes:
        at: (2,), its middle.
        size: (width, height), of a circle its diameter twice.
        lines: its name, broken into lines.
        name_size: size of the name's letters.
        outward: (2,), unit vector, on which side a loop goes.
    """

    at: Points
    size: tuple[float, float]
    lines: str
    name_size: float
    outward: Points


class Drawn(NamedTuple):
    """A curve with its label and colour, ready to be drawn."""

    points: Points
    label: str
    color: str
    width: float
    dashed: bool


def draw_graph(graph: ChainGraph, path: str | Path) -> None:
    """Draw a chain or a hidden Markov model into a .png, .svg or .pdf file.

    An edge has the colour of the state it leaves, so has its number, and a likelier one is thicker. Emissions are
    dashed. Long names are broken at blanks, then written smaller.

    Args:
        graph: `chain.graph()` of a Markov chain, `model_graph(model)` of a hidden Markov model.
        path: the file; a missing folder is made.

    Raises:
        ConfigError: matplotlib is not installed, or the name ends otherwise.
        ShapeError: `graph` is no such graph.
    """
    check_graph(graph)
    with opened(path, [*graph.states, *graph.symbols]) as canvas:
        spots = _two_levels(graph, canvas) if graph.symbols else _circle(graph, canvas)
        curves = _curves(graph, spots)
        for number, spot in enumerate(spots):
            _draw_node(canvas, graph, number, spot)
        for curve in curves:
            canvas.arrow(curve.points, color=curve.color, width=curve.width, dashed=curve.dashed)
        _draw_labels(canvas, curves, spots)


def _circle(graph: ChainGraph, canvas: Canvas) -> list[Spot]:
    """Lay the states out on a circle, two side by side, loops outward."""
    K, radius = len(graph.states), _radius(graph, canvas)
    angles = np.pi / 2 - 2 * np.pi * np.arange(K) / K if K != 2 else np.array([np.pi, 0.0])
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (K, 2)
    # Neighbours are at least four radii apart; a dense graph needs more room for its numbers.
    apart = max(4.2 * radius, 2.0) + 0.12 * max(0, K - 3)
    far = 0.0 if K == 1 else apart / (2 * np.sin(np.pi / K))
    sizes = (2 * radius, 2 * radius)
    spots = []
    for name, side in zip(graph.states, outward, strict=True):
        lines, name_size = _fitted(name, 1.7 * radius, canvas)
        spots.append(Spot(far * side, sizes, lines, name_size, side))
    return spots


def _two_levels(graph: ChainGraph, canvas: Canvas) -> list[Spot]:
    """Lay the hidden states out in a row, their symbols in a row below; with two states the loops go sideways."""
    hidden, symbols, radius = graph.states, graph.symbols, _radius(graph, canvas)
    shapes = [_fitted(name, 1.5, canvas) for name in symbols]
    widths = [max(0.6, canvas.text_size(*shape)[0] + 0.28) for shape in shapes]
    height = max(canvas.text_size(*shape)[1] for shape in shapes) + 0.24
    across, below = max(2.5 * radius + 0.7, 1.9), max(max(widths) + 0.45, 1.25)
    width = max(across * (len(hidden) - 1), below * (len(symbols) - 1))
    across, below = (_step(width, step, len(row)) for step, row in ((across, hidden), (below, symbols)))
    drop = max(2.0, 0.3 * width)
    spots = []
    for place, name in enumerate(hidden):
        side = np.array([0.0, 1.0]) if len(hidden) != 2 else np.array([2.0 * place - 1, 0.0])
        at = np.array([across * (place - (len(hidden) - 1) / 2), drop])
        spots.append(Spot(at, (2 * radius, 2 * radius), *_fitted(name, 1.7 * radius, canvas), side))
    for place, (shape, wide) in enumerate(zip(shapes, widths, strict=True)):
        at = np.array([below * (place - (len(symbols) - 1) / 2), 0.0])
        spots.append(Spot(at, (wide, height), *shape, np.array([0.0, -1.0])))
    return spots


def _step(width: float, smallest: float, count: int) -> float:
    """Return the distance between `count` nodes that fill a width, but not more than 1.6 times the smallest."""
    return smallest if count < 2 else min(max(smallest, width / (count - 1)), 1.6 * smallest)


def _radius(graph: ChainGraph, canvas: Canvas) -> float:
    """Return one radius for all states, in which most names fit."""
    widths = [canvas.text_size(_broken(name), NAME_SIZE)[0] for name in graph.states]
    return float(np.clip(max(widths) / 2 + 0.1, SMALLEST_RADIUS, LARGEST_RADIUS))


def _fitted(name: str, width: float, canvas: Canvas) -> tuple[str, float]:
    """Return the name in lines and the size of letters that fit a width; what never fits ends in an ellipsis."""
    lines = _broken(name)
    size = NAME_SIZE * min(1.0, width / max(canvas.text_size(lines, NAME_SIZE)[0], 1e-9))
    while size < SMALLEST_NAME and len(lines) > 2:
        lines = lines[:-2].rstrip() + "…"
        size = NAME_SIZE * min(1.0, width / canvas.text_size(lines, NAME_SIZE)[0])
    return lines, max(size, SMALLEST_NAME)


def _broken(name: str) -> str:
    """Break a long name at the blank nearest to its middle."""
    name = " ".join(name.split())
    blanks = [place for place, character in enumerate(name) if character == " "]
    if len(name) < 10 or not blanks:
        return name
    middle = min(blanks, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def _curves(graph: ChainGraph, spots: list[Spot]) -> list[Drawn]:
    K, drawn = len(graph.states), []
    for i, j, p in graph.moves:
        source, target, radius = spots[i], spots[j], spots[i].size[0] / 2
        if i == j:
            points = loop(source.at, radius + 0.02, source.outward, LOOP_SIZE)
        else:
            points = arc(source.at, target.at, _bend(graph, i, j, spots))
            for spot in (source, target):
                points = outside_circle(points, spot.at, radius + 0.03)
        drawn.append(Drawn(points, probability_text(p), COLORS[i % len(COLORS)], 0.8 + 1.6 * p, False))
    for i, k, p in graph.emissions:
        source, target = spots[i], spots[K + k]
        points = outside_circle(arc(source.at, target.at, 0.0), source.at, source.size[0] / 2 + 0.03)
        points = outside_box(points, target.at, target.size[0] + 0.06, target.size[1] + 0.06)
        drawn.append(Drawn(points, probability_text(p), COLORS[i % len(COLORS)], 0.8 + 1.6 * p, True))
    return drawn


def _bend(graph: ChainGraph, i: int, j: int, spots: list[Spot]) -> float:
    """Return how far an edge between states leaves the straight line, to its left (to the right if negative)."""
    distance = float(np.hypot(*(spots[j].at - spots[i].at)))
    if graph.symbols and len(graph.states) > 2:
        # In a row all go above: those to the right high, those back below them.
        return 0.34 * distance if i < j else -0.2 * distance
    there_and_back = any((a, b) == (j, i) for a, b, _ in graph.moves)
    return 0.13 * distance + 0.04 if there_and_back or graph.symbols else 0.05 * distance


def _draw_node(canvas: Canvas, graph: ChainGraph, number: int, spot: Spot) -> None:
    x, y = spot.at.tolist()
    if number >= len(graph.states):
        canvas.box(x, y, *spot.size, color=FAINT, fill="#f6f8fa")
        canvas.text(x, y, spot.lines, spot.name_size)
        return
    canvas.circle(x, y, spot.size[0] / 2, color=COLORS[number % len(COLORS)], width=1.8)
    rise = 0.08 if graph.start else 0.0
    canvas.text(x, y + rise, spot.lines, spot.name_size)
    if graph.start:
        below = canvas.text_size(spot.lines, spot.name_size)[1] / 2 + 0.09
        text = f"start {probability_text(graph.start[number])}"
        canvas.text(x, y + rise - below, text, START_SIZE, color="#57606a")


def _draw_labels(canvas: Canvas, curves: list[Drawn], spots: list[Spot]) -> None:
    """Put each curve's number on it where it hides no other number, no node and few curves."""
    taken: list[Box] = [
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for (x, y), (width, height) in ((spot.at.tolist(), spot.size) for spot in spots)
    ]
    for number, curve in enumerate(curves):
        if not curve.label:
            continue
        width, height = canvas.text_size(curve.label, NUMBER_SIZE)
        others = np.concatenate([np.empty((0, 2)), *(c.points for n, c in enumerate(curves) if n != number)])
        x, y = label_place(curve.points, (width + 0.1, height + 0.06), taken, others)
        taken.append((x - width / 2 - 0.05, y - height / 2 - 0.03, x + width / 2 + 0.05, y + height / 2 + 0.03))
        canvas.text(x, y, curve.label, NUMBER_SIZE, color=curve.color, boxed=True)
