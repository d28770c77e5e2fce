"""Reading a run folder: what is accepted, and what is refused with which words."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from blog.run_folder import read_run
from envs.errors import PublishError
from tests.blog.run_folders import make_run, report_json, write


def test_a_finished_run_is_read(run: Path) -> None:
    read = read_run(run)
    assert read.id == "tagger-20260102-030405-a1b2"
    assert read.finished == datetime(2026, 1, 2, 3, 7, 36, tzinfo=UTC)
    assert [figure.name for figure in read.figures] == ["loss", "transitions"]
    assert {metric.name: len(metric.points) for metric in read.metrics} == {"train/loss": 30, "valid/f1": 6}


def test_a_report_may_hold_next_to_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "bare")
    write(folder / "report.json", {"schema": 1})
    write(folder / "run.json", {"id": "bare", "state": "finished", "finished": "2026-01-02T11:07:36+08:00"})
    (folder / "metrics.jsonl").unlink()
    read = read_run(folder)
    assert (read.title, read.recipe, read.figures, read.metrics) == ("bare", "", [], [])
    assert read.finished == datetime(2026, 1, 2, 3, 7, 36, tzinfo=UTC)


@pytest.mark.parametrize("state", ["queued", "running", "failed", "stopped", "lost", None])
def test_a_run_that_is_not_finished_is_refused(tmp_path: Path, state: str | None) -> None:
    folder = make_run(tmp_path / "r", state=state)
    with pytest.raises(PublishError, match=r"only a finished run becomes a post\n  next: `\./inv train\.logs tagger-"):
        read_run(folder)


def test_no_run_no_report_no_json(run: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match=r"no run in .*\n  next: `\./inv train\.list`"):
        read_run(tmp_path / "nowhere")
    (run / "report.json").write_text("{half", encoding="utf-8")
    with pytest.raises(PublishError, match=r"report\.json cannot be read as JSON"):
        read_run(run)
    (run / "report.json").write_text("[]", encoding="utf-8")
    with pytest.raises(PublishError, match="should hold a JSON object, not list"):
        read_run(run)
    (run / "report.json").unlink()
    with pytest.raises(PublishError, match=r"has no report\.json"):
        read_run(run)


ROW = {"model": "m", "role": "model", "values": [1.0]}


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"title": 3}, "`title` should be a str, not 3"),
        ({"summary": "one"}, "`summary` should be a list"),
        ({"method": ["x"]}, "`method` should be a list of objects"),
        ({"results": {"columns": ["f1", "acc"], "rows": [ROW]}}, "objects with 2 numbers"),
        ({"results": {"columns": ["f1"], "rows": [{**ROW, "values": ["high"]}]}}, "objects with 1 numbers"),
        ({"results": {"columns": ["f1"], "rows": [{**ROW, "values": [True]}]}}, "objects with 1 numbers"),
        ({"examples": [{"text": "ab", "gold": ["O"], "predicted": ["O", "O"]}]}, "as many tags as characters"),
        ({"examples": [{"text": "ab"}]}, "objects of text, gold and predicted"),
    ],
)
def test_a_wrong_report_is_named(run: Path, part: dict[str, Any], named: str) -> None:
    write(run / "report.json", report_json() | part)
    with pytest.raises(PublishError) as caught:
        read_run(run)
    assert named in str(caught.value)
    assert "report.json" in str(caught.value)
    assert "next: `./inv train.logs" in str(caught.value)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", ".hidden", 'x" onload="y', "loss\n"])
def test_a_figure_cannot_come_from_elsewhere(run: Path, name: str) -> None:
    write(run / "report.json", report_json() | {"figures": [{"name": name, "title": "", "alt": "", "caption": ""}]})
    with pytest.raises(PublishError, match="letters, digits"):
        read_run(run)


def test_a_missing_figure_is_named(run: Path) -> None:
    (run / "figures" / "loss.dark.svg").unlink()
    with pytest.raises(PublishError, match=r"loss\.dark\.svg is missing"):
        read_run(run)


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="`finished` should be an ISO 8601 time, not 'yesterday'"):
        read_run(make_run(tmp_path / "r", finished="yesterday"))


def test_a_cut_off_line_of_metrics_is_left_out(run: Path) -> None:
    lines = ['{"step": 1, "name": "a", "value": 2.0}', "[1]", '{"step": null, "name": "a", "value": 1}', '{"st']
    (run / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [(m.name, m.points) for m in read_run(run).metrics] == [("a", [(1, 2.0)])]


def test_the_fixture_is_json_as_the_contract_says(run: Path) -> None:
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["schema"] == 1
