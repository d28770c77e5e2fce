"""Figures for reports: each as an SVG for light and one for dark pages, and as CSV.

The SVGs have a transparent background, text as outlines, and the same bytes each time. Drawing needs matplotlib
(`pip install matplotlib`), which is imported only when a figure is drawn.
"""

import csv
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from seqlab.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Matrix", "Series", "can_draw", "draw_bars", "draw_heatmap", "draw_lines"]

_SALT = "seqlab"

Matrix: TypeAlias = Sequence[Sequence[float | None]]


class Theme(NamedTuple):
    """Colours of one variant; `heat` runs from negative over `middle` to positive."""

    ink: str
    faint: str
    lines: tuple[str, ...]
    heat: tuple[str, str, str]


# Okabe and Ito's colours, which most colour-blind readers can tell apart; lighter ones on dark pages.
_THEMES = {
    "light": Theme("#24292f", "#d0d7de", ("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
                   ("#b2182b", "#f7f7f7", "#2166ac")),
    "dark": Theme("#d7dde4", "#3d444d", ("#56b4e9", "#e69f00", "#2fc79b", "#e59ac6"),
                  ("#f4806f", "#1c2128", "#6cb2ee")),
}  # fmt: skip


class Series(NamedTuple):
    """One line of a line chart; `right` puts it on the axis on the right, which runs from 0 to 1."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    right: bool = False


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_lines(folder: Path, name: str, series: Sequence[Series], *, x_label: str, y_label: str,
               right_label: str = "", log_y: bool = False) -> None:  # fmt: skip
    """Lines over a common x, the left axis logarithmic on demand; the CSV has a row for each point: series, x, y."""
    rows = [[line.name, x, y] for line in series for x, y in zip(line.x, line.y, strict=True)]
    _write_csv(folder, name, ["series", x_label, "value"], rows)

    def draw(figure: "Figure", theme: Theme) -> None:
        left = figure.subplots()
        right = left.twinx() if any(line.right for line in series) else None
        handles = []
        for line, color in zip(series, theme.lines, strict=False):
            axes = right if line.right and right is not None else left
            style = "--" if line.right else "-"
            marker = "o" if len(line.x) < 30 else None
            handles += axes.plot(line.x, line.y, style, color=color, label=line.name, marker=marker, markersize=3)
        left.set_xlabel(x_label)
        left.set_ylabel(y_label)
        if log_y:
            left.set_yscale("log")
        else:
            left.set_ylim(bottom=0)
        left.grid(color=theme.faint, linewidth=0.6)
        if right is not None:
            right.set_ylabel(right_label)
            right.set_ylim(0, 1)
        _style(figure, theme)
        legend = left.legend(handles=handles, loc="center right", frameon=False)
        for text in legend.get_texts():
            text.set_color(theme.ink)

    _draw(folder, name, (7.0, 3.8), draw)


def draw_heatmap(folder: Path, name: str, values: Matrix, *, rows: Sequence[str], columns: Sequence[str],
                 row_label: str, column_label: str, value_label: str,
                 drawn: tuple[Sequence[str], Matrix] | None = None) -> None:  # fmt: skip
    """A matrix as coloured cells around 0; None is a blank cell. The CSV is the matrix with its names.

    `drawn`, names and a square matrix, is drawn in place of `values` when those are too many to read.
    """
    cells = [[row, *["" if value is None else value for value in line]]
             for row, line in zip(rows, values, strict=True)]  # fmt: skip
    _write_csv(folder, name, [f"{row_label} \\ {column_label}", *columns], cells)
    if drawn is not None:
        rows = columns = drawn[0]
        values = drawn[1]
    limit = max((abs(value) for line in values for value in line if value is not None), default=1.0) or 1.0

    def draw(figure: "Figure", theme: Theme) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        colors = LinearSegmentedColormap.from_list("heat", theme.heat).with_extremes(bad=(0, 0, 0, 0))
        matrix = [[float("nan") if value is None else value for value in line] for line in values]
        # Cells as vectors: an image would be embedded as pixels.
        mesh = axes.pcolormesh(matrix, cmap=colors, vmin=-limit, vmax=limit, edgecolors=theme.faint, linewidth=0.3)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xticks([position + 0.5 for position in range(len(columns))], columns, rotation=90)
        axes.set_yticks([position + 0.5 for position in range(len(rows))], rows)
        axes.set_xlabel(column_label)
        axes.set_ylabel(row_label)
        # Below, so that the cells get the whole width.
        bar = figure.colorbar(mesh, ax=axes, location="bottom", shrink=0.7, aspect=40, label=value_label)
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set(rasterized=False, edgecolor="face")  # or it would be pixels too
        _style(figure, theme)
        axes.tick_params(length=0, labelsize=min(9.0, 0.75 * cell_pt))

    # A page shows a figure as wide as its column: the narrower it is drawn, the larger its text comes out.
    cell_pt = 310 / max(len(rows), len(columns))
    _draw(folder, name, (5.5, 1.9 + cell_pt * len(rows) / 72), draw)


def draw_bars(folder: Path, name: str, groups: Sequence[str], bars: Mapping[str, Sequence[float]], *,
              y_label: str) -> None:  # fmt: skip
    """Shares (0 to 1) as bars, one for each name of `bars` in each group; the CSV has a row for each group."""
    columns = [[str(group), *[bars[bar][place] for bar in bars]] for place, group in enumerate(groups)]
    _write_csv(folder, name, ["", *bars], columns)

    def draw(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        width = 0.8 / len(bars)
        for number, ((label, heights), color) in enumerate(zip(bars.items(), theme.lines, strict=False)):
            places = [place - 0.4 + width * (number + 0.5) for place in range(len(groups))]
            drawn = axes.bar(places, heights, width * 0.92, color=color, label=label)
            if len(groups) <= 10:
                axes.bar_label(drawn, fmt="%.2f", fontsize=7, color=theme.ink, padding=1)
        axes.set_xticks(range(len(groups)), groups, rotation=0 if len(groups) <= 8 else 60)
        axes.set_ylim(0, 1.08)
        axes.set_ylabel(y_label)
        axes.grid(axis="y", color=theme.faint, linewidth=0.6)
        axes.set_axisbelow(True)
        _style(figure, theme)
        legend = axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(bars), frameon=False)
        for text in legend.get_texts():
            text.set_color(theme.ink)

    _draw(folder, name, (7.0, 3.8), draw)


def _draw(folder: Path, name: str, size: tuple[float, float], draw: "Callable[[Figure, Theme], None]") -> None:
    """Draw both variants; without matplotlib nothing is drawn."""
    if not can_draw():
        return
    import matplotlib
    from matplotlib.figure import Figure

    for variant, theme in _THEMES.items():
        # No pyplot: its state is global and would outlive the figure.
        with matplotlib.rc_context({"svg.hashsalt": _SALT, "svg.fonttype": "path", "font.family": ["DejaVu Sans"]}):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure, theme)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        replace_file(folder / f"{name}.{variant}.svg", buffer.getvalue())


def _style(figure: "Figure", theme: Theme) -> None:
    """Ink colour for all text, ticks and edges."""
    for axes in figure.axes:
        axes.tick_params(colors=theme.ink, which="both", labelsize=9)
        axes.xaxis.label.set_color(theme.ink)
        axes.yaxis.label.set_color(theme.ink)
        for name, spine in axes.spines.items():
            spine.set_color(theme.faint)
            spine.set_visible(name in ("left", "bottom"))


def _write_csv(folder: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_file(folder / f"{name}.csv", text.getvalue().encode())
