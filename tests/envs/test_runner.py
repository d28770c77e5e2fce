"""The runner as a process of its own, without tmux: states, signals, log, grace period, leftovers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.runs import Run
from tests.waiting import wait_for

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "运行 one"
    folder.mkdir()
    return Run(folder)


@pytest.fixture
def start(root: Path, run: Run) -> Start:
    def start_(script: str, **record: Any) -> "subprocess.Popen[bytes]":
        full = {"id": run.id, "state": "queued", "command": [sys.executable, "-c", script], "host": "", "grace_s": 20}
        full |= {"attempts": [], "git": {}, "gpu": {}, "environment": {}}
        handed = run.folder.parent / "handed"
        (run.folder / "run.json").write_text(json.dumps(full | record))
        words = [
            sys.executable,
            str(root / "envs" / "runner.py"),
            str(run.folder),
            *([str(handed)] if handed.exists() else []),
        ]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    return start_


def log(run: Run) -> str:
    path = run.folder / "log.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_a_run_that_finishes(start: Start, run: Run) -> None:
    process = start("print('first'); print('最后')")
    assert process.wait(20) == 0
    record = run.record()
    assert (record["state"], record["exit_code"], record["signal"]) == ("finished", 0, None)
    assert record["started"] <= record["finished"]
    assert log(run).splitlines() == ["first", "最后", "[runner] finished"]


def test_a_run_that_fails_keeps_its_last_words(start: Start, run: Run) -> None:
    assert start("import sys; print('about to fail'); sys.exit(7)").wait(20) == 7
    assert run.record()["state"] == "failed"
    assert run.record()["attempts"][0]["exit_code"] == 7
    assert "about to fail" in log(run)


def test_a_thousand_lines_at_once_are_all_in_the_log(start: Start, run: Run) -> None:
    assert start("[print(f'line {i}') for i in range(1000)]").wait(20) == 0
    assert [line for line in log(run).splitlines() if line.startswith("line")] == [f"line {i}" for i in range(1000)]


def test_a_command_that_does_not_exist(start: Start, run: Run) -> None:
    assert start("", command=["no-such-program"]).wait(20) == 1
    assert run.record()["state"] == "failed"
    assert "no-such-program" in run.record()["message"]


def test_killed_by_the_kernel_is_failed(start: Start, run: Run) -> None:
    start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").wait(20)
    record = run.record()
    assert (record["state"], record["exit_code"], record["signal"]) == ("failed", 137, 9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_signals_reach_the_training_and_it_may_write_a_checkpoint(start: Start, run: Run, number: int) -> None:
    script = (
        "import signal, sys, time\n"
        "def stop(number, frame): print('checkpoint written'); sys.exit(128 + number)\n"
        "signal.signal(signal.SIGTERM, stop); signal.signal(signal.SIGINT, stop); print('ready')\n"
        "while True: time.sleep(0.05)"
    )
    process = start(script, recipe="x")
    wait_for(lambda: "ready" in log(run))
    process.send_signal(number)
    process.wait(20)
    assert run.record()["state"] == "stopped"
    assert "checkpoint written" in log(run)


def test_after_the_grace_period_it_is_killed(start: Start, run: Run) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready')\nwhile True: time.sleep(1)"
    )
    process = start(script, grace_s=0.5)
    wait_for(lambda: "ready" in log(run))
    begun = time.monotonic()
    process.terminate()
    process.wait(20)
    assert time.monotonic() - begun >= 0.5
    assert run.record()["state"] == "stopped"
    assert "grace period is over" in log(run)


def test_finishing_while_being_stopped_counts_as_finished_for_a_recipe(start: Start, run: Run) -> None:
    script = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready')\n"
        "time.sleep(60)"
    )
    process = start(script, recipe="x")
    wait_for(lambda: "ready" in log(run))
    process.terminate()
    assert process.wait(20) == 0
    assert run.record()["state"] == "finished"


def test_a_second_runner_is_refused_and_harms_nothing(start: Start, run: Run, root: Path) -> None:
    process = start("print('ready'); import time; time.sleep(60)")
    wait_for(lambda: "ready" in log(run))
    assert run.state() == "running"
    second = subprocess.run([sys.executable, str(root / "envs" / "runner.py"), str(run.folder)], capture_output=True)
    assert second.returncode == 3
    assert b"already running" in second.stderr
    assert run.state() == "running"
    process.terminate()
    process.wait(20)


def test_a_killed_runner_takes_the_training_with_it(start: Start, run: Run) -> None:
    script = (
        "import pathlib, signal, sys, time\n"
        f"note = pathlib.Path({str(run.folder)!r}) / 'asked'\n"
        "signal.signal(signal.SIGTERM, lambda *_: (note.write_text('yes'), sys.exit(143))); print('ready')\n"
        "while True: time.sleep(0.05)"
    )
    process = start(script)
    wait_for(lambda: "ready" in log(run))
    process.kill()
    process.wait(20)
    wait_for(lambda: (run.folder / "asked").exists())
    wait_for(lambda: not run.is_alive())
    (run.folder / "run.json").write_text(json.dumps(run.record() | {"host": os.uname().nodename}))
    assert run.state() == "lost"


def test_what_the_training_leaves_behind_is_ended(start: Start, run: Run) -> None:
    script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    assert start(script).wait(20) == 0
    left = int(log(run).splitlines()[0])
    wait_for(
        lambda: not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split(")")[1][:3]
    )
    assert not run.is_alive()


def test_the_environment_is_handed_over_and_its_file_removed(start: Start, run: Run) -> None:
    handed = run.folder.parent / "handed"
    handed.write_text(json.dumps({"GIVEN": "a secret\nof two lines", "TMUX": "x"}))
    start(
        "import os; print(repr(os.environ['GIVEN']), 'TMUX' in os.environ, repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    ).wait(20)
    assert "'a secret\\nof two lines' False ''" in log(run)
    assert not handed.exists()


def test_a_heartbeat_is_kept(start: Start, run: Run) -> None:
    process = start("import time; time.sleep(60)")
    first = wait_for(
        lambda: (run.folder / "heartbeat.json").exists() and json.loads((run.folder / "heartbeat.json").read_text())
    )
    wait_for(lambda: json.loads((run.folder / "heartbeat.json").read_text())["time"] > first["time"])
    process.terminate()
    process.wait(20)


def test_asking_for_a_gpu_that_cannot_exist_fails_with_the_reason(start: Start, run: Run) -> None:
    assert start("print('never')", gpu={"requested": "99"}).wait(20) == 1
    assert run.record()["state"] == "failed"
    assert "99 GPUs wanted" in run.record()["message"]
    assert "never" not in log(run).splitlines()
