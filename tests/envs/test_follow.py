"""What a follower shows, and that it only looks."""

import json
from pathlib import Path

import pytest

from envs.follow import follow, follow_log, metrics_text, progress_text, results_text
from envs.runs import Run


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({}, ""),
        ({"train/loss": 3.21456, "train/lr": 1}, "loss 3.215"),
        ({"train/loss": 1, "valid/accuracy": 0.5, "valid/f1": 0.25}, "loss 1 · valid/f1 0.25"),
        ({"valid/ndcg@10": 0.5}, "valid/ndcg@10 0.5"),
        ({"train/loss": 1, "valid/f1": 0.2, "baseline/f1": 0.1, "test/f1": 0.3}, "loss 1 · test/f1 0.3"),
    ],
)
def test_the_newest_numbers(metrics: dict[str, float], shown: str) -> None:
    assert metrics_text({"metrics": metrics}) == shown


def test_a_plain_line() -> None:
    line = progress_text(
        {"phase": "train", "step": 50, "total_steps": 200, "eta_s": 65.2, "metrics": {"train/loss": 1}}
    )
    assert line == "train      25 %  step 50/200  ETA 1:05  loss 1"
    assert progress_text({"phase": "prepare"}) == "prepare"


RECORD = {"id": "a", "state": "finished", "command": [], "attempts": [], "git": {}, "gpu": {}, "environment": {}}


@pytest.fixture
def ended(tmp_path: Path) -> Run:
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / "log.txt").write_text("one\ntwo\nhalf")
    (tmp_path / "progress.json").write_text(json.dumps({"phase": "done", "step": 2, "total_steps": 2}))
    return Run(tmp_path)


def test_following_an_ended_run_returns_at_once(ended: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(ended) == "finished"
    assert "100 %" in capsys.readouterr().out
    assert follow_log(ended, 2) == "finished"
    assert capsys.readouterr().out == "two\nhalf\n"


def test_the_table_of_results(ended: Run) -> None:
    rows = [{"model": "HMM", "values": [0.5, 0.25]}, {"model": "BiLSTM-CRF", "values": [1.0, 0.75]}]
    report = {"results": {"part": "test", "columns": ["f1", "accuracy"], "rows": rows}}
    (ended.folder / "report.json").write_text(json.dumps(report))
    table = results_text(ended).splitlines()
    assert table[0].split() == ["test", "f1", "accuracy"]
    assert table[2].split() == ["BiLSTM-CRF", "1.0000", "0.7500"]
