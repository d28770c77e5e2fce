"""The program behind `./inv`: help that answers, errors that name the next command, imports that stay light."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from envs.settings import check_settings
from seqlab.errors import ConfigError

Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def inv(root: Path, tmp_path: Path):
    """Call the program from another directory, with the runs in the test's own folder."""

    def call(*words: str, **variables: str) -> Completed:
        environment = {
            **os.environ,
            "SEQLAB_RUNS": str(tmp_path / "runs"),
            "SEQLAB_TMUX_SOCKET": "seqlab-none",
            **variables,
        }
        command = [sys.executable, str(root / "envs" / "cli.py"), *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


def test_the_list_has_every_room(inv) -> None:
    done = inv("--list")
    assert done.returncode == 0, done.stderr
    promised = (
        "demo doctor test check bench env.up env.status train.start train.list train.show train.logs train.attach"
    )
    promised += " train.stop train.resume train.wait train.rm blog.build blog.serve blog.post blog.check"
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(promised.split()) <= listed


def test_listing_imports_nothing_heavy(root: Path) -> None:
    script = (
        "import sys; sys.argv = ['inv', '--list']; sys.path.insert(0, '.')\n"
        "import envs.cli\n"
        "try: envs.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'rich', 'docker', 'libtmux', 'requests', 'tensorboard', 'pynvml'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("words", [("train.start", "--help"), ("train.stop", "-h"), ("--help", "train.start")])
def test_help_of_a_task_with_a_positional(inv, words: tuple[str, ...]) -> None:
    done = inv(*words)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert "Options:" in done.stdout


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("train.show", "nothing"), "there is no run 'nothing'", 1),
        (("train.show",), "./inv train.show RUN", 2),
        (("train.stop", "-x"), "a run is needed", 2),
        (("train.logs", "a'b"), "cannot name a run", 2),
        (("train.rm", "a\n; rm -rf /"), "cannot name a run", 2),
        (("train.start",), "a recipe is needed", 2),
        (("train.start", "tager"), "tagger", 2),
        (("train.start", "tagger", "--set", "encoder.hiden=3"), "encoder.hidden", 2),
        (("train.start", "tagger", "--set", "encoder.hidden=big"), "int", 2),
        (("train.start", "tagger", "--seed", "x"), "--seed takes", 2),
        (("train.start", "tagger", "--name", "a b"), "cannot name a run", 2),
        (("train.start", "tagger", "--gpu", "all", "--name", "a"), "--gpu takes", 2),
        (("train.start", "tagger", "--data", "/nowhere.conllu"), "nowhere.conllu", 2),
        (("train.start", "tagger", "--grace", "soon"), "--grace takes", 2),
        (("train.start", "--cmd", "echo 'x"), "cannot be read as words", 2),
        (("train.start", "--cmd", "   "), "a command is needed", 2),
        (("train.start", "--cmd", "no-such-program x"), "there is no program 'no-such-program'", 2),
        (("train.start", "--cmd", "echo a | cat"), "no shell reads --cmd", 2),
        (("train.start", "--cmd", "true", "--gpu", "5"), "5 GPUs wanted", 1),
        (("--dry", "train.start", "tagger", "--gpu", "x"), "--gpu takes", 2),
        (("train.strat",), "./inv train.start?", 2),
        (("train.list", "--bogus"), "--bogus", 2),
        (("bench", "--name", "nothing"), "there is no benchmark", 1),
    ],
)
def test_bad_input_is_one_message_and_no_stack_trace(inv, words: tuple[str, ...], says: str, code: int) -> None:
    done = inv(*words)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == code
    assert done.stderr.startswith("error: ")


def test_debug_shows_the_stack_trace(inv) -> None:
    done = inv("--debug", "train.show", "nothing")
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_json_is_one_document(inv) -> None:
    assert json.loads(inv("train.list", "--json").stdout) == []
    assert {finding["name"] for finding in json.loads(inv("doctor", "--json").stdout)} >= {"tmux", "disk"}
    assert json.loads(inv("env.status", "--json").stdout)["backend"] == "venv"
    assert json.loads(inv("train.recipes", "--json").stdout)[0]["name"] == "tagger"


def test_dry_does_nothing(inv, tmp_path: Path) -> None:
    for words in (("train.start", "tagger"), ("train.start", "--cmd", "true"), ("demo",), ("env.up",)):
        done = inv("--dry", *words)
        assert done.returncode == 0, done.stderr
        assert "would" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_environment(inv, tmp_path: Path) -> None:
    done = inv("--dry", "train.start", "tagger", SEQLAB_RUNS=str(tmp_path / "别处"))
    assert str(tmp_path / "别处") in done.stdout


def test_tasks_run_in_a_checkout_whatever_its_path(tmp_path: Path, root: Path) -> None:
    odd = tmp_path / "一个 fol'der $HOME"
    odd.mkdir()
    script = (
        "import pathlib, sys; from invoke import Context; from envs.tasks import project\n"
        "project.ROOT = pathlib.Path(sys.argv[1])\n"
        "sys.exit(project._run_python(Context(), '-c', 'open(\"here.txt\", \"w\").close(); raise SystemExit(7)'))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(odd)], cwd=root, check=False).returncode == 7
    assert (odd / "here.txt").exists()


def test_inv_alone_says_where_to_begin(inv) -> None:
    done = inv()
    assert done.returncode == 0
    assert "./inv demo" in done.stdout
    assert "train.start" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value"), [("SEQLAB_TRAIN_GRACE_S", "abc"), ("SEQLAB_BLOG_PORT", "1.5"), ("SEQLAB_RUNS", "")]
)
def test_settings_of_the_wrong_kind_in_the_environment(inv, variable: str, value: str) -> None:
    done = inv("train.list", **{variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {variable} ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": 5}, "train takes settings of its own"),
        ({"mirrors": None}, "mirrors takes settings of its own"),
        ([1, 2], "`name: value` lines"),
        ({"runs": None}, "runs takes a text"),
        ({"train": {"grace_s": "long"}}, "train.grace_s takes a whole number"),
        ({"train": {"grace": 3}}, "train.grace_s?"),
        ({"run": 7}, "unknown setting run"),
    ],
)
def test_settings_of_the_wrong_kind_in_the_file(settings: object, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        check_settings(settings, {})


def test_fine_settings_pass(root: Path) -> None:
    check_settings(yaml.safe_load((root / "invoke.yaml").read_text(encoding="utf-8")), {"SEQLAB_BLOG_PORT": "80"})
    check_settings(None, {})
    check_settings({"run": {"echo": True}}, {})


def test_a_terminal_that_lacks_letters_gets_their_codes(inv, tmp_path: Path) -> None:
    done = inv("--dry", "train.start", "--cmd", "true", "--name", "标注", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "\\u6807" in done.stdout


def test_a_folder_that_cannot_be_made_is_named(inv, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = inv("train.start", "--cmd", "true", SEQLAB_RUNS=str(tmp_path / "file" / "runs"))
    assert done.returncode == 1
    assert "next:" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_stack_trace_when_the_reader_goes_away(root: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} {root / 'envs' / 'cli.py'} train.recipes | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
