"""progress.json and the progress line."""

import io
import json

import pytest

from seqlab.train import progress as module
from seqlab.train.progress import Progress, format_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


def training(path, stream=None):
    progress = Progress(path, stream=stream or io.StringIO(), shown=("train/loss", "valid/f1"))
    progress.total_steps, progress.epochs = 100, 2
    progress.enter("train")
    return progress


def test_the_file_is_as_in_the_contract(tmp_path, clock):
    progress = training(tmp_path / "progress.json")
    clock.now += 20
    progress.update(10, 1, {"train/loss": 3.5})
    value = json.loads((tmp_path / "progress.json").read_text())
    assert value.pop("time") > 1.7e9
    assert value == {"phase": "train", "step": 10, "total_steps": 100, "epoch": 1, "epochs": 2, "elapsed_s": 20.0,
                     "eta_s": 180.0, "metrics": {"train/loss": 3.5}}  # fmt: skip


def test_the_file_is_written_at_most_twice_a_second_and_at_each_phase(tmp_path, clock, monkeypatch):
    writes = []
    monkeypatch.setattr(module, "replace_json", lambda path, value, durable: writes.append(value["phase"]))
    progress = training(tmp_path / "progress.json")
    for step in range(96):
        clock.now += 1 / 64
        progress.update(step, 1)
    assert writes == ["train"] * 4  # at 0, 0.5, 1 and 1.5 seconds
    for phase in ("evaluate", "report", "done"):
        progress.enter(phase)
    assert writes[4:] == ["evaluate", "report", "done"]


def test_without_a_terminal_a_plain_line_every_ten_seconds(tmp_path, clock):
    stream = io.StringIO()
    progress = training(tmp_path / "p.json", stream)
    for step in range(1, 31):
        clock.now += 1
        progress.update(step, 1, {"train/loss": 1.23456, "valid/f1": 0.5})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert "\r" not in stream.getvalue()
    assert "30%  step 30/100  train/loss 1.235  valid/f1 0.5  ETA 1m10s" in lines[-1]


def test_on_a_terminal_the_line_is_redrawn_and_ended_before_a_message(tmp_path, clock):
    stream = Terminal()
    progress = training(tmp_path / "p.json", stream)
    clock.now += 1
    progress.update(1, 1)
    progress.say("message")
    text = stream.getvalue()
    assert text.count("\r") == 2
    assert text.endswith("\nmessage\n")


def test_a_resumed_run_judges_the_pace_by_its_own_steps(tmp_path, clock):
    progress = Progress(tmp_path / "p.json", stream=io.StringIO())
    progress.total_steps, progress.step = 100, 90
    progress.enter("train")
    assert progress.eta_s() is None
    clock.now += 10
    progress.update(95, 1)
    assert progress.eta_s() == pytest.approx(10)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.4, "59s"), (75.4, "1m15s"), (3720, "1h02m")])
def test_durations(seconds, text):
    assert format_duration(seconds) == text
