"""report.json: what a finished run has to say, in the shape that docs/run-folder.md fixes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from seqlab.files import replace_json

__all__ = ["Data", "Example", "Figure", "Method", "Part", "Report", "Results", "Row", "write_report"]

SCHEMA = 1


@dataclass(frozen=True)
class Part:
    """The size of one part of the data."""

    sequences: int
    tokens: int


@dataclass(frozen=True)
class Data:
    """What was trained and tested on; `sha256` is over exactly what was used, `notes` say what was left out."""

    name: str
    source: str
    sha256: str
    parts: Mapping[str, Part]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Method:
    """One model in words and as a formula."""

    name: str
    text: str
    latex: str


@dataclass(frozen=True)
class Row:
    """One model's results, a value for each column."""

    model: str
    role: Literal["baseline", "model"]
    values: Sequence[float]


@dataclass(frozen=True)
class Results:
    """A table; shares are between 0 and 1."""

    part: str
    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Figure:
    """A figure drawn as figures/<name>.{light,dark}.svg with its data in figures/<name>.csv."""

    name: str
    title: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Example:
    """One held-out sequence with the true and the predicted tags, one tag for each character."""

    text: str
    gold: Sequence[str]
    predicted: Sequence[str]


@dataclass(frozen=True)
class Report:
    """All of report.json; it holds no times, so that the same seed gives the same bytes."""

    title: str
    summary: Sequence[str]
    data: Data
    method: Sequence[Method]
    results: Results
    figures: Sequence[Figure] = field(default_factory=list)
    examples: Sequence[Example] = field(default_factory=list)


def write_report(path: Path, report: Report) -> None:
    """Write `report` as JSON in one move."""
    replace_json(path, {"schema": SCHEMA, **asdict(report)})
