"""Reads a run folder (docs/run-folder.md) and checks it before anything is written.

Reads `run.json`, `report.json`, `metrics.jsonl` and the names in `figures/`; starts and changes nothing.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envs.errors import PublishError

__all__ = ["Example", "Figure", "Metric", "Run", "read_run"]

FIGURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
Json = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One figure: `<name>.light.svg`, `<name>.dark.svg` and `<name>.csv` in the run's `figures/`."""

    name: str
    title: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Example:
    """A text with one gold and one predicted tag for each of its characters."""

    text: str
    gold: list[str]
    predicted: list[str]


@dataclass(frozen=True)
class Metric:
    """How one number went over a training: (step, value) in the order they were written."""

    name: str
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class Run:
    """A finished run, as its folder tells it."""

    folder: Path
    id: str
    finished: datetime
    record: Json
    report: Json
    figures: list[Figure] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The report's title, or the run's id."""
        return str(self.report.get("title") or self.id)

    @property
    def recipe(self) -> str:
        """The recipe that was trained; empty when the record does not say."""
        return str(self.record.get("recipe") or "")


def read_run(folder: Path) -> Run:
    """Read a finished run.

    Raises:
        PublishError: there is no run, it is not finished, or its files are not what docs/run-folder.md says.
    """
    if not (folder / "run.json").is_file():
        raise PublishError(f"there is no run in {folder} (no run.json)\n  next: `./inv train.list`")
    record = _object(folder / "run.json", "./inv train.list")
    identity = record.get("id")
    if not isinstance(identity, str) or not identity:
        raise PublishError(f"{folder / 'run.json'} has no id\n  next: `./inv train.list`")
    logs = f"./inv train.logs {shlex.quote(identity)}"
    if record.get("state") != "finished":
        raise PublishError(
            f"the run {identity} is {record.get('state', 'without a state')}; only a finished run becomes a post\n"
            f"  next: `{logs}`"
        )
    if not (folder / "report.json").is_file():
        raise PublishError(f"the run {identity} has no report.json, so there is nothing to tell\n  next: `{logs}`")
    report = _object(folder / "report.json", logs)
    return Run(
        folder=folder,
        id=identity,
        finished=_time(record.get("finished"), folder / "run.json", logs),
        record=record,
        report=_checked_report(report, folder / "report.json", logs),
        figures=_figures(report, folder, logs),
        examples=_examples(report, folder / "report.json", logs),
        metrics=_metrics(folder / "metrics.jsonl"),
    )


def _object(path: Path, command: str) -> Json:
    """The JSON object in a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PublishError(f"{path} cannot be read as JSON: {error}\n  next: `{command}`") from error
    if not isinstance(value, dict):
        raise PublishError(f"{path} should hold a JSON object, not {type(value).__name__}\n  next: `{command}`")
    return value


def _time(value: object, path: Path, command: str) -> datetime:
    """An ISO 8601 time as UTC; one without a zone is UTC already."""
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise PublishError(
            f"{path}: `finished` should be an ISO 8601 time, not {value!r}\n  next: `{command}`"
        ) from None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


# What each part of report.json must be where it is present.
SHAPES: dict[str, type] = {
    "title": str,
    "summary": list,
    "data": dict,
    "method": list,
    "results": dict,
    "figures": list,
    "examples": list,
}


def _checked_report(report: Json, path: Path, command: str) -> Json:
    for name, kind in SHAPES.items():
        if not isinstance(report.get(name, kind()), kind):
            raise _wrong(path, name, f"a {kind.__name__}", report[name], command)
    for name in ("method", "figures", "examples"):
        for entry in report.get(name, []):
            if not isinstance(entry, dict):
                raise _wrong(path, name, "a list of objects", entry, command)
    results = report.get("results", {})
    columns, rows = results.get("columns", []), results.get("rows", [])
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise _wrong(path, "results", "an object of columns and rows", results, command)
    for row in rows:
        values = row.get("values") if isinstance(row, dict) else None
        if not isinstance(values, list) or len(values) != len(columns) or not all(map(_is_value, values)):
            raise _wrong(path, "results.rows", f"objects with {len(columns)} numbers in `values`", row, command)
    return report


def _is_value(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _wrong(path: Path, name: str, expected: str, came: object, command: str) -> PublishError:
    shown = json.dumps(came, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}…"
    return PublishError(f"{path}: `{name}` should be {expected}, not {shown}\n  next: `{command}`")


def _figures(report: Json, folder: Path, command: str) -> list[Figure]:
    figures = []
    for entry in report.get("figures", []):
        name = str(entry.get("name", ""))
        if not FIGURE_NAME.match(name):
            raise _wrong(folder / "report.json", "figures.name", "letters, digits, - and _", name, command)
        for suffix in ("light.svg", "dark.svg"):
            if not (folder / "figures" / f"{name}.{suffix}").is_file():
                raise PublishError(f"{folder / 'figures' / f'{name}.{suffix}'} is missing\n  next: `{command}`")
        texts = {key: str(entry.get(key) or "") for key in ("title", "alt", "caption")}
        figures.append(Figure(name, **texts))
    return figures


def _examples(report: Json, path: Path, command: str) -> list[Example]:
    examples = []
    for entry in report.get("examples", []):
        text, gold, predicted = entry.get("text"), entry.get("gold"), entry.get("predicted")
        if not (isinstance(text, str) and isinstance(gold, list) and isinstance(predicted, list)):
            raise _wrong(path, "examples", "objects of text, gold and predicted", entry, command)
        if not len(text) == len(gold) == len(predicted):
            lengths = f"{len(text)} characters, {len(gold)} gold and {len(predicted)} predicted tags"
            raise _wrong(path, "examples", "as many tags as characters", lengths, command)
        examples.append(Example(text, [str(tag) for tag in gold], [str(tag) for tag in predicted]))
    return examples


def _metrics(path: Path) -> list[Metric]:
    """The numbers of `metrics.jsonl`, in order; a line that is not one of them (cut off by a crash) is left out."""
    if not path.is_file():
        return []
    points: dict[str, list[tuple[int, float]]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            point = int(entry["step"]), float(entry["value"])
            points.setdefault(str(entry["name"]), []).append(point)
        except (ValueError, TypeError, KeyError):
            continue
    return [Metric(name, values) for name, values in points.items()]
