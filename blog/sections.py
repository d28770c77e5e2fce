"""The generated part of a post, section by section: each function returns the section's blocks of Markdown.

HTML blocks hold no empty line and begin with a block tag, so that Markdown passes them through as they are.
"""

import itertools
import json
import math
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from blog import text
from blog.examples import examples_section
from blog.run_folder import Figure, Metric, Run

__all__ = ["post_body", "result_line"]

# Columns and metrics whose smaller values are better, known by a word in their name.
LOWER_IS_BETTER = ("loss", "perplexity", "ppl", "nll", "error", "rmse", "mae", "seconds", "time")


def post_body(run: Run, size_of: Mapping[str, tuple[int, int]]) -> str:
    """Everything between the two marker lines; `size_of` gives a figure's width and height where they are known."""
    blocks = [
        *_summary(run.report),
        *_results(run.report.get("results", {})),
        *_learning(run.figures, run.metrics, size_of),
        *examples_section(run.examples),
        *_method(run.report.get("method", [])),
        *_data(run.report.get("data", {})),
        *_configuration(run.record.get("config")),
        *_provenance(run),
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(report: dict[str, Any]) -> list[str]:
    paragraphs = [text.markdown(str(paragraph)) for paragraph in report.get("summary", [])]
    return [*paragraphs[:1], "<!-- more -->", *paragraphs[1:]]


def result_line(results: dict[str, Any]) -> str:
    """The results in one line, which tells posts apart in a list: f1, else the first column, of every model."""
    columns, rows = [str(name) for name in results.get("columns", [])], results.get("rows", [])
    if not columns or not rows:
        return ""
    column = next((i for i, name in enumerate(columns) if name.lower() == "f1"), 0)
    ordered = sorted(rows, key=lambda row: row.get("role") == "baseline")
    shown = (f"{row.get('model', '')} {_number(row['values'][column])}{_role(row)}" for row in ordered)
    return text.one_line(f"{columns[column]}: {', '.join(shown)}")


def _role(row: dict[str, Any]) -> str:
    return " (baseline)" if row.get("role") == "baseline" else ""


# ---- results --------------------------------------------------------------------------------------------------


def _results(results: dict[str, Any]) -> list[str]:
    columns, rows = results.get("columns", []), results.get("rows", [])
    if not columns or not rows:
        return []
    baseline = next((row["values"] for row in rows if row.get("role") == "baseline"), None)
    head = _row("th", ["model", *map(str, columns)], numbers_from=1)
    best = [_best(str(name), [row["values"][i] for row in rows]) for i, name in enumerate(columns)]
    body = [_result_row(row, columns, best, baseline if len(rows) > 1 else None) for row in rows]
    blocks = ["## Results", _table(head, body)]
    note = f"Measured on the {results['part']} part. " if results.get("part") else ""
    note += "Best of each column in bold" + ("; below it the difference to the baseline." if baseline else ".")
    return [*blocks, f'<p class="note">{text.html(note)}</p>']


def _result_row(
    row: dict[str, Any], columns: list[Any], best: list[float | None], baseline: list[float | None] | None
) -> str:
    """One model's figures: the best of a column in bold, and how each differs from the baseline."""
    is_baseline = row.get("role") == "baseline"
    name = text.html(str(row.get("model", ""))) + (' <span class="note">baseline</span>' if is_baseline else "")
    cells = [f'<th scope="row">{name}</th>']
    for i, value in enumerate(row["values"]):
        shown = _number(value)
        if value is not None and value == best[i]:
            shown = f"<strong>{shown}</strong>"
        if baseline and not is_baseline:
            shown += _change(str(columns[i]), value, baseline[i])
        cells.append(f'<td class="number">{shown}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _best(column: str, values: list[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < 2:
        return None
    return min(finite) if _lower_is_better(column) else max(finite)


def _lower_is_better(name: str) -> bool:
    return any(word in name.lower() for word in LOWER_IS_BETTER)


def _change(column: str, value: float | None, base: float | None) -> str:
    if value is None or base is None or not math.isfinite(value - base):
        return ""
    difference = value - base
    better = (difference < 0) == _lower_is_better(column)
    kind = "" if difference == 0 else " better" if better else " worse"
    return f'<span class="change{kind}">{"−" if difference < 0 else "+"}{_number(abs(difference))}</span>'


def _number(value: float | None) -> str:
    """A figure for a table: shares with four decimals, whole numbers whole, others with five digits."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


# ---- learning -------------------------------------------------------------------------------------------------


def _learning(figures: list[Figure], metrics: list[Metric], size_of: Mapping[str, tuple[int, int]]) -> list[str]:
    """The figures in the report's order, then how each number of `metrics.jsonl` went."""
    blocks = [_figure(figure, size_of.get(figure.name)) for figure in figures]
    numbers = [_metric_row(metric) for metric in metrics if metric.points]
    if numbers:
        head = _row("th", ["number", "first", "best", "at step", "last"], numbers_from=1)
        blocks.append(f"<details>\n<summary>The training in numbers</summary>\n{_table(head, numbers)}\n</details>")
    return ["## What was learned", *blocks] if blocks else []


def _figure(figure: Figure, size: tuple[int, int] | None) -> str:
    """A picture with a light and a dark variant; its size keeps the page from jumping while it loads."""
    extent = f' width="{size[0]}" height="{size[1]}"' if size else ""
    title = f"<strong>{text.html(figure.title)}.</strong> " if figure.title else ""
    return "\n".join(
        [
            "<figure>",
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{figure.name}.dark.svg">'
            f'<img src="{figure.name}.light.svg" alt="{text.html(figure.alt or figure.title)}"{extent}'
            ' loading="lazy"></picture>',
            f'<figcaption>{title}{text.html(figure.caption)} <a href="{figure.name}.csv">The data as CSV</a>'
            "</figcaption>",
            "</figure>",
        ]
    )


def _metric_row(metric: Metric) -> str:
    finite = [point for point in metric.points if math.isfinite(point[1])] or metric.points
    choose = min if _lower_is_better(metric.name) else max
    step, best = choose(finite, key=lambda point: point[1])
    values = [_number(metric.points[0][1]), _number(best), f"{step:,}", _number(metric.points[-1][1])]
    return _row("td", [metric.name, *values], numbers_from=1)


# ---- method, data, configuration ------------------------------------------------------------------------------


def _method(method: list[dict[str, Any]]) -> list[str]:
    blocks = []
    for part in method:
        blocks.append(f"### {text.markdown(str(part.get('name') or 'Model'))}")
        blocks += [text.markdown(str(part["text"]))] if part.get("text") else []
        blocks += [text.maths(str(part["latex"]))] if part.get("latex") else []
    return ["## Method", *blocks] if blocks else []


def _data(data: dict[str, Any]) -> list[str]:
    if not data:
        return []
    about = ": ".join(str(data[key]).rstrip(".") for key in ("name", "source") if data.get(key))
    blocks = ["## Data"] + ([text.markdown(f"{about}.")] if about else [])
    parts = {name: counts for name, counts in (data.get("parts") or {}).items() if isinstance(counts, dict)}
    kinds = list(dict.fromkeys(kind for counts in parts.values() for kind in counts))
    if kinds:
        rows = [_row("td", [name, *(_plain(counts.get(kind)) for kind in kinds)], 1) for name, counts in parts.items()]
        blocks.append(_table(_row("th", ["part", *kinds], numbers_from=1), rows))
    notes = data.get("notes")
    if isinstance(notes, list) and notes:
        blocks.append("\n".join(f"- {text.markdown(str(note))}" for note in notes))
    return blocks


def _configuration(config: object) -> list[str]:
    if not isinstance(config, dict):
        return []
    flat = {name.removeprefix("settings."): value for name, value in _flat(config)}  # as `--set` takes them
    rows = [_fact(name, _nameless(value)) for name, value in flat.items()]
    return ["## Configuration", _facts(rows)] if rows else []


def _flat(config: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """A nested configuration as dotted names, with values as JSON."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---- provenance -----------------------------------------------------------------------------------------------


def _provenance(run: Run) -> list[str]:
    """Where the figures come from, folded away. Host and user stay in the run folder: they are nobody's business."""
    record, environment = run.record, run.record.get("environment") or {}
    facts = {
        "run": run.id,
        "recipe": run.recipe,
        "seed": record.get("seed"),
        "started": _when(record.get("started")),
        "finished": _when(record.get("finished")),
        "duration": _duration(run),
        "command": _command(record.get("command"), run.folder, run.id),
        "git commit": _commit(record.get("git")),
        "data": run.report.get("data", {}).get("name"),
        "data sha256": run.report.get("data", {}).get("sha256"),
        **{name: _plain(value) for name, value in environment.items() if value is not None},
        "gpu": ", ".join(map(_plain, (record.get("gpu") or {}).get("devices") or [])) or "none",
    }
    rows = [_fact(name.replace("_", " "), str(value)) for name, value in facts.items() if value not in (None, "")]
    summary = "<summary>What it takes to run this again</summary>"
    return ["## Provenance", f"<details>\n{summary}\n{_facts(rows)}\n</details>"]


def _commit(git: object) -> str:
    if not isinstance(git, dict) or not git.get("commit"):
        return "not from a git repository"
    return f"{git['commit']}{' with uncommitted changes (source.diff in the run folder)' if git.get('dirty') else ''}"


def _command(command: object, folder: Path, identity: str) -> str:
    """The command without the paths of the machine it ran on: the program by its name, the run folder as runs/ID."""
    if not isinstance(command, list) or not command:
        return ""
    own, words = {str(folder), str(folder.resolve())}, [str(word) for word in command]
    is_own = (word in own or word.endswith(f"/runs/{identity}") for word in words)
    return shlex.join(f"runs/{identity}" if its else _nameless(word) for its, word in zip(is_own, words, strict=True))


def _nameless(word: str) -> str:
    """A path of the machine as its last part alone; anything else as it is."""
    return Path(word).name if Path(word).is_absolute() else word


def _when(value: object) -> str:
    return str(value).replace("T", " ").removesuffix("+00:00").removesuffix("Z") + " UTC" if value else ""


def _duration(run: Run) -> str:
    """The time spent training: the attempts' lengths summed, or from start to finish."""
    attempts = [(a.get("started"), a.get("ended")) for a in run.record.get("attempts") or [] if isinstance(a, dict)]
    spans = attempts if attempts and all(all(pair) for pair in attempts) else [_ends(run)]
    try:
        lengths = [datetime.fromisoformat(str(b)) - datetime.fromisoformat(str(a)) for a, b in spans]
    except (ValueError, TypeError):  # a time is missing, or only one of a pair names its zone
        return ""
    seconds = round(sum(length.total_seconds() for length in lengths))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(hours or minutes) + [f"{seconds % 60} s"]
    return " ".join(parts) + (f" in {len(spans)} attempts" if len(spans) > 1 else "")


def _ends(run: Run) -> tuple[object, object]:
    return run.record.get("started"), run.record.get("finished")


# ---- tables ---------------------------------------------------------------------------------------------------


def _plain(value: object) -> str:
    """A value as text: numbers with separators, nested ones as JSON."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(tag: str, cells: Iterable[str], numbers_from: int) -> str:
    """A table row of `th` or `td`; from one column on they are set as numbers."""
    kinds = (tag if i < numbers_from else f'{tag} class="number"' for i in itertools.count())
    return f"<tr>{''.join(f'<{kind}>{text.html(cell)}</{tag}>' for kind, cell in zip(kinds, cells, strict=False))}</tr>"


def _table(head: str, rows: list[str]) -> str:
    lines = [f"<thead>{head}</thead>", "<tbody>", *rows, "</tbody>"]
    return "\n".join(['<div class="scroll"><table>', *lines, "</table></div>"])


def _fact(name: str, value: str) -> str:
    return f'<tr><th scope="row">{text.html(name)}</th><td><code>{text.html(value)}</code></td></tr>'


def _facts(rows: list[str]) -> str:
    return "\n".join(['<div class="scroll"><table class="facts"><tbody>', *rows, "</tbody></table></div>"])
