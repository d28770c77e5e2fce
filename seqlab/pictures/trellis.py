"""Trellises: what dynamic programming knew at each step, and the path it chose."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seqlab.chain.explain import ViterbiWalk
from seqlab.errors import ShapeError
from seqlab.lattice import Way, cheapest_way
from seqlab.pictures.canvas import FAINT, INK, MARK, PAPER, Canvas, opened
from seqlab.pictures.curves import Box, Points, arc, label_place, outside_circle

__all__ = ["draw_lattice", "draw_trellis"]

NEVER = float("-inf")
NAME_SIZE, NUMBER_SIZE, SMALL_SIZE = 10.5, 8.0, 8.5
RADIUS = 0.33
MARKED_FILL = "#fdeee2"
POINTER, GREY = "#8c959f", "#57606a"


class Place(NamedTuple):
    """A node: its column and row, what is written in it, whether the best path and whether any path reaches it."""

    column: int
    row: float
    text: str
    marked: bool
    reached: bool = True


class Line(NamedTuple):
    """An arrow between two nodes, by (column, row); `label` is written on it."""

    source: tuple[int, float]
    target: tuple[int, float]
    label: str
    marked: bool


def draw_trellis(walk: ViterbiWalk, path: str | Path, *, logs: bool = False) -> None:
    """Draw a Viterbi run into a .png, .svg or .pdf file: a column for each step, a row for each state.

    A circle holds δ_t(j), as a probability if the run's scores are logarithms of such; the arrow into it comes from
    ψ_t(j), the state before on the best path that ends there. The path that wins is marked. A state that no path
    reaches is pale.

    Args:
        walk: what `seqlab.chain.explain.explain_viterbi` returned.
        path: the file.
        logs: write scores; otherwise exp of them, the probabilities, where they are (`walk.probabilities`).

    Raises:
        ConfigError: matplotlib is not installed, or the name ends otherwise.
        ShapeError: there are no steps.
    """
    T, K = walk.deltas.shape  # time steps, states
    if T == 0:
        raise ShapeError("walk must have at least one step to draw, got T = 0")
    won = set(enumerate(walk.path.tolist())) if walk.score > NEVER else set()
    places, lines, logs = [], [], logs or not walk.probabilities
    for t, j in np.ndindex(T, K):
        score = float(walk.deltas[t, j])
        places.append(Place(t, j, _delta_text(score, logs), (t, j) in won, score > NEVER))
        before = int(walk.back_pointers[t, j])
        if t > 0 and score > NEVER:
            marked = (t, j) in won and (t - 1, before) in won
            lines.append(Line((t - 1, before), (t, j), "", marked))
    numbers = [str(t + 1) for t in range(T)]
    _draw(path, places, lines, walk.states, numbers, [] if walk.steps == numbers else walk.steps,
          across=1.15 + 0.12 * max(0, K - 2), down=1.0 if K < 5 else 0.85)  # fmt: skip


def draw_lattice(
    costs: Sequence[ArrayLike],
    path: str | Path,
    *,
    names: Sequence[Sequence[object]] | None = None,
    best: Way | None = None,
) -> None:
    """Draw the layers of `seqlab.lattice.cheapest_way` with the costs of all edges, the best path marked.

    Args:
        costs: as for `cheapest_way`.
        path: the file, .png, .svg or .pdf.
        names: for each layer its nodes' names; None: their numbers.
        best: the way to mark, by numbers; None: the cheapest.

    Raises:
        ConfigError: matplotlib is not installed, or the name ends otherwise.
        ShapeError: as `cheapest_way`, or the names do not fit.
    """
    best = cheapest_way(costs) if best is None else best
    matrices = [np.array(matrix, dtype=np.float64) for matrix in costs]
    sizes = [matrices[0].shape[0], *(matrix.shape[1] for matrix in matrices)]
    texts = (
        [[str(n) for n in range(size)] for size in sizes] if names is None else [list(map(str, row)) for row in names]
    )
    if [len(row) for row in texts] != sizes:
        raise ShapeError(f"names must hold {sizes} names, got {[len(row) for row in texts]}")
    rows = [(max(sizes) - size) / 2 for size in sizes]  # each layer is centred
    won = set(enumerate(best.nodes))
    places = [Place(t, rows[t] + i, texts[t][i], (t, i) in won) for t, size in enumerate(sizes) for i in range(size)]
    lines = [
        Line((t, rows[t] + i), (t + 1, rows[t + 1] + j), f"{matrix[i, j]:g}", {(t, i), (t + 1, j)} <= won)
        for t, matrix in enumerate(matrices)
        for i, j in np.argwhere(np.isfinite(matrix)).tolist()
    ]
    _draw(path, places, lines, [], [], [], across=2.3, down=1.2)


def _draw(path: str | Path, places: Sequence[Place], lines: Sequence[Line], names: Sequence[str],
          heads: Sequence[str], feet: Sequence[str], *, across: float, down: float) -> None:  # fmt: skip
    """Draw nodes and arrows; `names` stand left of the rows, `heads` above the columns, `feet` below them."""
    texts = [*(place.text for place in places), *(line.label for line in lines), *names, *heads, *feet]
    with opened(path, texts) as canvas:
        for place in places:
            _draw_place(canvas, place, across * place.column, -down * place.row)
        _draw_lines(canvas, places, lines, np.array([across, -down]))
        bottom = -down * max(place.row for place in places)
        for row, name in enumerate(names):
            canvas.text(-RADIUS - 0.18, -down * row, name, NAME_SIZE, align="right")
        for column, head in enumerate(heads):
            canvas.text(across * column, RADIUS + 0.2, head, SMALL_SIZE, color=GREY)
        for column, foot in enumerate(feet):
            short = _cut(canvas, foot, 0.95 * across)
            canvas.text(across * column, bottom - RADIUS - 0.24, short, SMALL_SIZE, color=GREY)


def _draw_place(canvas: Canvas, place: Place, x: float, y: float) -> None:
    color, fill = (MARK, MARKED_FILL) if place.marked else (INK if place.reached else FAINT, PAPER)
    canvas.circle(x, y, RADIUS, color=color, fill=fill, width=2.2 if place.marked else 1.1)
    size = NUMBER_SIZE * min(1.0, 1.75 * RADIUS / canvas.text_size(place.text, NUMBER_SIZE)[0])
    canvas.text(x, y, place.text, size, color=INK if place.reached else GREY, bold=place.marked)


def _draw_lines(canvas: Canvas, places: Sequence[Place], lines: Sequence[Line], scale: Points) -> None:
    """Draw the arrows, the marked ones on top, then their labels where they hide least."""
    curves = []
    for line in lines:
        source, target = np.array(line.source) * scale, np.array(line.target) * scale
        points = outside_circle(arc(source, target, 0.0), source, RADIUS + 0.03)
        points = outside_circle(points, target, RADIUS + 0.03)
        style = (MARK, 2.4, 3) if line.marked else (POINTER, 1.0, 2)
        canvas.arrow(points, color=style[0], width=style[1], layer=style[2])
        curves.append(points)
    middles = [np.array([place.column, place.row]) * scale for place in places]
    taken: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in middles]
    for number, line in enumerate(lines):
        if line.label:
            width, height = canvas.text_size(line.label, SMALL_SIZE)
            others = np.concatenate([np.empty((0, 2)), *curves[:number], *curves[number + 1 :]])
            x, y = label_place(curves[number], (width + 0.08, height + 0.06), taken, others)
            taken.append((x - width / 2 - 0.04, y - height / 2 - 0.03, x + width / 2 + 0.04, y + height / 2 + 0.03))
            canvas.text(x, y, line.label, SMALL_SIZE, color=MARK if line.marked else INK, bold=line.marked, boxed=True)


def _cut(canvas: Canvas, text: str, width: float) -> str:
    """Shorten a text to a width."""
    short = text
    while len(short) > 1 and canvas.text_size(short, SMALL_SIZE)[0] > width:
        short = short.removesuffix("…")[:-1] + "…"
    return short


def _delta_text(score: float, logs: bool) -> str:
    if score == NEVER:
        return "−∞" if logs else "0"
    if logs or not -690 < score < 690:
        return f"{score:.4g}".replace("-", "−")
    value = float(np.exp(score))
    return f"{value:.3g}" if 1e-3 <= value < 1e4 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
