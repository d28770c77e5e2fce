"""A sheet measured in inches on which diagrams are drawn, and how it becomes a file."""

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqlab.errors import ConfigError
from seqlab.files import describe_os_error, replace_file
from seqlab.pictures.fonts import drawable, writing

if TYPE_CHECKING:
    from seqlab.pictures.curves import Points

__all__ = ["COLORS", "FAINT", "INK", "MARK", "PAPER", "Canvas", "opened"]

INK, FAINT, PAPER, MARK = "#24292f", "#c3cad2", "#ffffff", "#d55e00"
# Okabe and Ito's colours, which most colour-blind readers can tell apart, the yellow one left out.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#b4538a", "#3a8fc0", "#a0700a")
DPI = 160


class Canvas:
    """Lines, nodes and text at places in inches; the sheet is cut to what is on it."""

    def __init__(self, missing: set[str]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._missing = missing
        self.figure = Figure(figsize=(1, 1), dpi=DPI)
        self._canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, 1)
        self.axes.set_ylim(0, 1)
        self._corners: list[tuple[float, float]] = []

    def text_size(self, text: str, size: float) -> tuple[float, float]:
        """Return width and height in inches."""
        renderer: Any = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        return _text_size(renderer, drawable(text, self._missing), size, self.figure)

    def text(self, x: float, y: float, text: str, size: float, *, color: str = INK, bold: bool = False,
             boxed: bool = False, align: str = "center", layer: float = 5) -> None:  # fmt: skip
        """Write around a place; `boxed` puts a piece of paper behind, so that a line may pass below."""
        style: Any = {"bbox": {"boxstyle": "round,pad=0.12", "facecolor": PAPER, "edgecolor": "none"}} if boxed else {}
        weight = "bold" if bold else "normal"
        self.axes.text(x, y, drawable(text, self._missing), size=size, color=color, ha=align, va="center", zorder=layer,
                       weight=weight, linespacing=1.15, **style)  # fmt: skip
        width, height = self.text_size(text, size)
        left = x - width * {"left": 0.0, "center": 0.5, "right": 1.0}[align]
        self.cover((left - 0.05, y - height / 2 - 0.05), (left + width + 0.05, y + height / 2 + 0.05))

    def circle(
        self, x: float, y: float, radius: float, *, color: str = INK, fill: str = PAPER, width: float = 1.4
    ) -> None:
        """Draw a node."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=color, linewidth=width, zorder=4))
        self.cover((x - radius, y - radius), (x + radius, y + radius))

    def box(self, x: float, y: float, width: float, height: float, *, color: str = INK, fill: str = PAPER) -> None:
        """Draw a node with corners, of this size around a place."""
        from matplotlib.patches import FancyBboxPatch

        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.08"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=fill, edgecolor=color,
                                           linewidth=1.2, zorder=4))  # fmt: skip
        self.cover(corner, (x + width / 2, y + height / 2))

    def arrow(self, points: "Points", *, color: str = INK, width: float = 1.2, dashed: bool = False,
              opacity: float = 1.0, layer: float = 2) -> None:  # fmt: skip
        """Draw a line through (n, 2) points with a head at its end."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path as Line

        head = 7 + 2.5 * width
        self.axes.add_patch(FancyArrowPatch(path=Line(points), arrowstyle="-|>", mutation_scale=head, color=color,
                                            linewidth=width, linestyle=(0, (4, 2)) if dashed else "solid", shrinkA=0,
                                            shrinkB=0, alpha=opacity, zorder=layer, joinstyle="round"))  # fmt: skip
        self.cover(*map(tuple, np.asarray(points).tolist()))

    def cover(self, *places: tuple[float, ...]) -> None:
        """Make sure that these places are on the sheet."""
        self._corners += [(place[0], place[1]) for place in places]

    def save(self, path: Path) -> None:
        """Cut the sheet, with a margin, and write it as the kind of picture that the name's end says.

        A missing folder is made.

        Raises:
            SeqlabError: the file could not be written; what was there stays.
        """
        margin = 0.12
        low, high = np.min(self._corners, axis=0) - margin, np.max(self._corners, axis=0) + margin
        self.figure.set_size_inches(*(high - low))
        self.axes.set_xlim(low[0], high[0])
        self.axes.set_ylim(low[1], high[1])
        kind, buffer = path.suffix[1:].lower(), io.BytesIO()
        # Neither the date nor the version of matplotlib: the same picture has the same bytes.
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
        self.figure.savefig(buffer, format=kind, dpi=DPI, facecolor=PAPER, metadata=metadata)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, buffer.getvalue())
        except OSError as error:
            raise describe_os_error(error, f"drawing {path}") from error


@contextlib.contextmanager
def opened(path: str | Path, texts: Iterable[str]) -> Iterator[Canvas]:
    """Give a canvas with fonts for `texts`, and save it at the end.

    Raises:
        ConfigError: matplotlib is not installed, or the name ends neither in .png nor in .svg nor in .pdf.
        SeqlabError: as in `Canvas.save`.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"a picture's name must end in .png, .svg or .pdf, got {path.name!r}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("drawing needs matplotlib: pip install matplotlib") from error
    with writing(texts, keep_text=path.suffix.lower() == ".svg") as missing:
        canvas = Canvas(missing)
        yield canvas
        canvas.save(path)


def _text_size(renderer: Any, text: str, size: float, figure: Any) -> tuple[float, float]:
    from matplotlib.text import Text

    extent = Text(0, 0, text, size=size, figure=figure, linespacing=1.15).get_window_extent(renderer)
    return float(extent.width) / DPI, float(extent.height) / DPI
