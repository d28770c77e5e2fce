"""Starting, stopping and resuming through a real tmux server."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from libtmux import common

from envs.errors import MissingTool, RunError
from envs.launch import Order, remove, resume, start, start_afresh, start_unnamed, stop
from envs.runs import Run, find_run
from envs.tmux import attach_command, has_session
from seqlab.errors import ConfigError
from tests.waiting import wait_for

SLEEPER = (sys.executable, "-c", "print('ready', flush=True)\nimport time\ntime.sleep(600)")


@pytest.fixture(autouse=True)
def no_remembered_version() -> Iterator[None]:
    """libtmux asks for tmux's version once; a test that changes PATH must not leave its answer behind."""
    forget = (common.get_version.cache_clear, common.get_version_str.cache_clear)
    for clear in forget:
        clear()
    yield
    for clear in forget:
        clear()


@pytest.fixture
def runs(tmp_path: Path, tmux_socket: str) -> Path:
    return tmp_path / "运行 folder's"


def begin(root: Path, runs: Path, name: str, *command: str, gpu: str = "none") -> Run:
    return start(root, runs / name, Order(command or SLEEPER, gpu=gpu))


def test_from_start_to_finish(root: Path, runs: Path) -> None:
    run = begin(root, runs, "标注-1", sys.executable, "-c", "print('你好')")
    wait_for(lambda: run.state() == "finished")
    assert run.log_tail(2) == ["你好", "[runner] finished"]
    record = run.record()
    assert record["git"]["commit"] is None or len(record["git"]["commit"]) == 40
    assert record["environment"]["python"]
    assert not (run.folder / "launch.env").exists()
    wait_for(lambda: not has_session(root, run.id))


def test_a_command_that_ends_at_once_is_not_lost(root: Path, runs: Path) -> None:
    for number in range(5):
        run = begin(root, runs, f"quick-{number}", "true")
        wait_for(lambda run=run: run.state() == "finished")


def test_stop_resume_stop(root: Path, runs: Path) -> None:
    run = begin(root, runs, "a")
    wait_for(lambda: "ready" in run.log_tail(5))
    assert run.state() == "running"
    assert stop(run) == "stopped"
    resume(root, run)
    wait_for(lambda: run.log_tail(9).count("ready") == 2)
    assert stop(run, now=True) == "stopped"
    assert len(run.record()["attempts"]) == 2
    with pytest.raises(RunError, match="nothing to stop"):
        stop(run)


def test_a_running_run_is_neither_resumed_nor_removed_nor_started_again(root: Path, runs: Path) -> None:
    run = begin(root, runs, "a")
    with pytest.raises(RunError, match="only a stopped, failed or lost run"):
        resume(root, run)
    with pytest.raises(RunError, match="still going"):
        remove(run)
    with pytest.raises(RunError, match="already a run"):
        begin(root, runs, "a")
    stop(run, now=True)
    remove(run)
    assert list(runs.iterdir()) == []


def test_a_finished_run_is_not_resumed(root: Path, runs: Path) -> None:
    run = begin(root, runs, "a", "true")
    wait_for(lambda: run.state() == "finished")
    with pytest.raises(RunError, match="finished"):
        resume(root, run)
    assert run.state() == "finished"


def test_killing_the_tmux_server_loses_nothing(root: Path, runs: Path, tmux_socket: str) -> None:
    run = begin(root, runs, "a")
    wait_for(lambda: "ready" in run.log_tail(5))
    subprocess.run(["tmux", "-L", tmux_socket, "kill-server"], check=True)
    wait_for(lambda: run.state() in ("stopped", "lost"))
    wait_for(lambda: not run.is_alive())
    resume(root, run)
    wait_for(lambda: run.log_tail(9).count("ready") == 2)
    stop(run, now=True)


def test_the_session_shows_the_live_output(root: Path, runs: Path, tmux_socket: str) -> None:
    run = begin(root, runs, "a")
    words = ["tmux", "-L", tmux_socket, "capture-pane", "-p", "-t", f"={run.id}:"]
    wait_for(lambda: "ready" in subprocess.run(words, capture_output=True, text=True).stdout)
    assert attach_command(root, run.id)[-1] == "=a"
    stop(run, now=True)


@pytest.mark.parametrize("name", ["a'; touch pwned; '", "$(touch pwned)", "a\nb", "-t", ""])
def test_names_never_reach_a_shell(root: Path, runs: Path, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        start(root, runs / name if name else Path("/"), Order(["true"]))
    assert not list(tmp_path.rglob("pwned"))


def test_arguments_arrive_as_they_were_given(root: Path, runs: Path) -> None:
    words = ["a b", "$(id)", "'\"", "; rm -rf /", "-n", "蝶", "", "line\nbreak", "`x`", "\\"]
    run = begin(root, runs, "a", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    wait_for(lambda: run.state() == "finished")
    assert run.log_tail(9)[0] == str(words)


def test_without_tmux_nothing_is_left_behind(root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingTool, match="apt-get install tmux"):
        begin(root, runs, "a")
    assert list(runs.iterdir()) == []


def test_an_old_tmux_is_named(root: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "tmux"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'tmux 2.6'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(MissingTool, match="too old"):
        begin(root, runs, "a")


@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "zh_CN.GBK"}, {"SHELL": "/bin/false"}]
)
def test_any_locale_and_login_shell_will_do(
    root: Path, runs: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (name, value), *_ = variables.items()
    run = begin(root, runs, "a", sys.executable, "-c", f"import os; print(os.environ[{name!r}])")
    wait_for(lambda: run.state() == "finished")
    assert run.log_tail(2)[0] == value, "the training has the caller's environment, not tmux's"


def test_no_secret_of_the_environment_is_left_on_disk(root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(runs.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)
    token = secrets.token_hex(8)
    monkeypatch.setenv("A_TOKEN", f"{token}\n{token}")
    run = begin(root, runs, "a", sys.executable, "-c", "import os; print(len(os.environ['A_TOKEN']))")
    wait_for(lambda: run.state() == "finished")
    assert run.log_tail(2)[0] == "33"
    for path in runs.parent.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


def test_the_kits_python_comes_first(root: Path, runs: Path) -> None:
    run = begin(root, runs, "a", "python", "-c", "import sys, numpy; print(sys.prefix)")
    wait_for(lambda: run.state() == "finished")
    assert run.log_tail(2)[0] == sys.prefix


def test_ten_unnamed_starts_at_once_all_get_a_name(root: Path, runs: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: start_unnamed(root, runs, "run", lambda _folder: Order(["true"])), range(10)))
    assert len({run.id for run in made}) == 10
    for run in made:
        wait_for(lambda run=run: run.state() == "finished")


def test_a_folder_that_is_no_run_is_neither_taken_nor_harmed(root: Path, runs: Path) -> None:
    (runs / "a").mkdir(parents=True)
    assert begin(root, runs, "a", "true").id == "a", "an empty folder, left by a start that was killed, is taken"
    (runs / "b").mkdir()
    (runs / "b" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is no run"):
        begin(root, runs, "b")
    assert (runs / "b" / "mine.txt").read_text() == "mine"


def test_starting_afresh_keeps_the_old_run_until_the_new_one_runs(
    root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(root, runs, "a", sys.executable, "-c", "print('old')")
    wait_for(lambda: run.state() == "finished")
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingTool):
        start_afresh(root, run, Order(["true"]))
    monkeypatch.setenv("PATH", path)
    assert "old" in run.log_tail(3)
    start_afresh(root, run, Order([sys.executable, "-c", "print('new')"]))
    wait_for(lambda: run.state() == "finished")
    assert "new" in run.log_tail(3)
    assert [entry.name for entry in runs.iterdir()] == ["a"]


def test_removing_what_cannot_be_removed_keeps_its_name(
    root: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(root, runs, "a", "true")
    wait_for(lambda: run.state() == "finished")
    linked = Run(runs / "linked")
    linked.folder.symlink_to(run.folder)
    remove(linked)
    assert run.state() == "finished"
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError):
        remove(run)
    assert run.state() == "finished"


def refuse(*_: object, ignore_errors: bool = False) -> None:
    if not ignore_errors:
        raise PermissionError(13, "Permission denied")


def test_runs_are_found_from_elsewhere(root: Path, runs: Path) -> None:
    run = begin(root, runs, "tagger-1")
    wait_for(lambda: find_run(runs, "tag").state() == "running")
    stop(run, now=True)
