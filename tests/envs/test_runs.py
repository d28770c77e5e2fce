"""Run folders read from outside: names, states, look-up."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import RunError
from envs.listing import details, print_details, print_runs, summaries
from envs.runs import Run, all_runs, check_run_id, find_run, new_run_id
from seqlab.errors import ConfigError


def make_run(runs: Path, name: str, **record: Any) -> Run:
    folder = runs / name
    folder.mkdir(parents=True)
    full = {"id": name, "state": "finished", "created": "2026-01-01T00:00:00Z", "host": socket.gethostname()}
    full |= {"command": ["true"], "attempts": [], "git": {}, "gpu": {}, "environment": {}} | record
    (folder / "run.json").write_text(json.dumps(full))
    return Run(folder)


@pytest.mark.parametrize("name", ["a", "demo", "tagger-20261123-0431", "标注_1", "0", "é-x"])
def test_names_that_are_fine(name: str) -> None:
    assert check_run_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-rf",
        "_x",
        ".",
        "..",
        "a/b",
        "a.b",
        "a:b",
        "a b",
        "a\nb",
        "a'b",
        'a"b',
        "$(id)",
        "; rm -rf",
        "a" * 65,
        "a\x00",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a run"):
        check_run_id(name)


@given(st.text(max_size=20))
def test_an_accepted_name_is_one_path_component_without_blanks_or_quotes(name: str) -> None:
    try:
        check_run_id(name)
    except ConfigError:
        return
    assert Path(name).name == name
    assert not set(name) & set(" '\"`$;&|<>\\/.:\n\t\0(){}*?!~#=")
    assert not name.startswith("-")


def test_look_up_by_name_and_by_beginning(tmp_path: Path) -> None:
    for name in ("tagger-1", "tagger-2", "标注-1", "tagger-10"):
        make_run(tmp_path, name)
    assert find_run(tmp_path, "tagger-1").id == "tagger-1"
    assert find_run(tmp_path, "标").id == "标注-1"
    with pytest.raises(RunError, match="tagger-1, tagger-10, tagger-2"):
        find_run(tmp_path, "tagger")
    with pytest.raises(RunError, match="there is no run"):
        find_run(tmp_path, "x")
    with pytest.raises(RunError, match="there is no run"):
        find_run(tmp_path / "nowhere", "x")


def test_listing_is_by_age_and_skips_what_is_no_run(tmp_path: Path) -> None:
    make_run(tmp_path, "b", created="2026-01-01T00:00:00Z")
    make_run(tmp_path, "a", created="2026-01-02T00:00:00Z")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / ".x.removed").mkdir()
    (tmp_path / "stray.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert [run.id for run in all_runs(tmp_path)] == ["broken", "b", "a"]


ODD = ["{", "[]", "{}", '{"state": "running"}', '{"id": 5, "state": "finished", "gpu": 3, "git": 7}', "null", ""]


@pytest.mark.parametrize("text", ODD)
def test_a_run_with_an_odd_record_is_listed_as_broken(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "fine")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text(text)
    rows = summaries(tmp_path)
    assert {row["id"]: row["state"] for row in rows} == {"fine": "finished", "odd": "broken"}
    print_runs(rows)
    with pytest.raises(RunError, match="not a run the kit can read"):
        details(Run(tmp_path / "odd"))
    print_details(details(Run(tmp_path / "fine")))
    assert "finished" in capsys.readouterr().out


def test_a_run_without_git_says_why_it_has_no_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_details(details(make_run(tmp_path, "a", git={"commit": None, "dirty": None, "note": "git is not installed"})))
    print_details(details(make_run(tmp_path, "b", git={"commit": "0123456789abcdef", "dirty": True})))
    shown = capsys.readouterr().out
    assert "git is not installed\n" in shown
    assert "0123456789ab (dirty)\n" in shown


def test_the_list_gives_every_run_one_whole_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a" * 64, "标注-" + "长" * 30, "b"]
    for name in names:
        make_run(tmp_path, name)
    print_runs(summaries(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(any(name in line for line in lines) for name in names)


def test_running_without_a_runner_is_lost_and_with_one_is_running(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", state="running")
    assert run.state() == "lost"
    descriptor = os.open(run.folder / "runner.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert run.state() == "running"
    os.close(descriptor)
    assert run.state() == "lost"


def test_on_another_host_the_heartbeat_decides(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", state="running", host="elsewhere")
    heartbeat = run.folder / "heartbeat.json"
    heartbeat.write_text("{}")
    assert run.state() == "running"
    os.utime(heartbeat, (time.time() - 60, time.time() - 60))
    assert run.state() == "lost"


def test_queued_is_lost_only_after_a_while(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", state="queued")
    assert run.state() == "queued"
    os.utime(run.folder / "run.json", (time.time() - 60, time.time() - 60))
    assert run.state() == "lost"


def test_a_broken_record_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match=r"log\.txt"):
        Run(tmp_path / "a").record()


def test_new_names_are_free(tmp_path: Path) -> None:
    first = new_run_id(tmp_path, "tagger")
    (tmp_path / first).mkdir()
    second = new_run_id(tmp_path, "tagger")
    assert second not in (first, "")
    assert check_run_id(second) == second


def test_the_tail_of_a_long_log(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    assert run.log_tail(3) == []
    (run.folder / "log.txt").write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert run.log_tail(2) == ["line 99998", "line 99999"]
    assert run.log_tail(0) == []
