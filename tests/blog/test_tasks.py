"""The tasks are thin: light to import, and `--dry` touches nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from invoke import Config, Context, Exit

from blog import tasks
from envs.errors import PublishError
from envs.settings import DEFAULTS
from seqlab.errors import SeqlabError
from tests.blog.run_folders import make_run


@pytest.fixture
def dry(run: Path) -> Context:
    """A context as `./inv --dry` makes it, with the runs of the test."""
    return Context(Config(defaults={**DEFAULTS, "run": {"dry": True}, "runs": str(run.parent)}))


def test_importing_the_tasks_is_light(root: Path) -> None:
    code = (
        "import sys, invoke; before = set(sys.modules); import blog.tasks; "
        "print(sorted({'torch', 'numpy', 'yaml', 'rich', 'subprocess'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dry_says_what_would_be_done(dry: Context, capsys: pytest.CaptureFixture[str]) -> None:
    tasks.build(dry)
    tasks.serve(dry)
    tasks.serve(dry, port="0")
    tasks.post(dry, "tagger")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert all(line.startswith("would ") for line in said)
    assert "tagger-20260102-030405-a1b2.md" in said[-1]


def test_dry_refuses_what_the_real_thing_refuses(dry: Context, run: Path) -> None:
    make_run(run, state="failed")
    with pytest.raises(PublishError, match="is failed"):
        tasks.post(dry, run.name)


@pytest.mark.parametrize("run_name", ["--help", "-x", "", "a b", "../x", "x; rm -rf ~", "nobody"])
def test_a_run_that_is_none_is_refused(dry: Context, run_name: str) -> None:
    with pytest.raises(SeqlabError):
        tasks.post(dry, run_name)


@pytest.mark.parametrize("port", ["-1", "http", "1.5"])
def test_a_port_that_is_no_number_is_refused(dry: Context, port: str) -> None:
    with pytest.raises(PublishError, match="--port takes a whole number"):
        tasks.serve(dry, port=port)


def test_h_is_for_help_alone() -> None:
    flags = [flag for argument in tasks.serve.get_arguments() for flag in argument.names]
    assert flags == ["port", "host"]


def test_check_prints_json(dry: Context, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit) as ended:
        tasks.check(dry, json=True)
    assert ended.value.code in (0, 1, 2)
    assert isinstance(json.loads(capsys.readouterr().out), list)
