"""The wrapper `./inv`, run for real in copies of the checkout; set-up itself is a stand-in here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CLI = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd()])); sys.exit(len(sys.argv) - 1)"

# Does what set-up promises: everything it prints is for standard error, and the stamp comes last.
BOOTSTRAP = f"""
import pathlib, sys
root = pathlib.Path(__file__).parent.parent
print("set-up speaks", sys.argv[1:])
if "--fail" in sys.argv: sys.exit(7)
(root / ".venv/bin").mkdir(parents=True, exist_ok=True)
(root / ".venv/bin/python").unlink(missing_ok=True)
(root / ".venv/bin/python").symlink_to({sys.executable!r})
(root / ".venv/lib/python3.11/site-packages").mkdir(parents=True, exist_ok=True)
(root / ".venv/lib/python3.11/site-packages/seqlab-checkout.pth").write_text("import os")
(root / ".venv/.lock-installed").write_text(
    (root / "envs/requirements.lock").read_text() + (root / "envs/torch.toml").read_text())
"""

OLD_PYTHON = '#!/bin/sh\necho "is cpython 3.9" >&2\nexit 1\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout, with everything a path may hold in its name."""
    root = tmp_path / "路径 with 'quotes\" and $HOME" / "seqlab"
    (root / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "inv", root / "inv")
    (root / "envs/cli.py").write_text(CLI)
    (root / "envs/bootstrap.py").write_text(BOOTSTRAP)
    (root / "envs/requirements.lock").write_text("tiny==1\n")
    (root / "envs/torch.toml").write_text('version = "2"\n')
    return root


@pytest.fixture
def ready(checkout: Path) -> Path:
    """A checkout that is set up."""
    subprocess.run([sys.executable, checkout / "envs/bootstrap.py"], check=True, capture_output=True)
    return checkout


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEQLAB_")}
    environ |= options.pop("environ", {})  # type: ignore[call-overload]
    return subprocess.run(command, capture_output=True, text=True, env=environ, **options)  # type: ignore[call-overload]


def tools(folder: Path, **pythons: str) -> dict[str, str]:
    """A PATH with the wrapper's tools and only these Pythons on it."""
    folder.mkdir()
    for name in ("cat", "head", "readlink"):
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name} on PATH"))
    for name, script in pythons.items():
        (folder / name.replace("_", ".")).write_text(script)
        (folder / name.replace("_", ".")).chmod(0o755)
    return {"PATH": str(folder)}


def test_passes_arguments_directory_and_exit_code(ready: Path, tmp_path: Path) -> None:
    arguments = ["", "two words", "new\nline\n", "'\"", "$HOME `id` *", "--", "-x", "中文"]
    done = run(ready / "inv", *arguments, cwd=tmp_path)
    assert json.loads(done.stdout) == [arguments, str(tmp_path)]
    assert (done.returncode, done.stderr) == (len(arguments), "")


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_any_shell(ready: Path, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")
    assert json.loads(run(found, "inv", "a b", cwd=ready).stdout)[0] == ["a b"]


def test_through_symlinks(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(ready / "inv")
    (tmp_path / "bin/relative").symlink_to("../absolute")
    (tmp_path / "folder").symlink_to(ready)
    for name in ("absolute", "bin/relative", "folder/inv"):
        assert json.loads(run(tmp_path / name, cwd=tmp_path).stdout) == [[], str(tmp_path)]
    found = run("relative", cwd=tmp_path, environ={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CDPATH": "/tmp"})
    assert found.returncode == 0


def test_first_call_sets_up_and_keeps_standard_output_clean(checkout: Path) -> None:
    done = run(checkout / "inv", "a", "--json")
    assert json.loads(done.stdout)[0] == ["a", "--json"]
    assert done.stderr == "set-up speaks ['a', '--json']\n"
    assert "set-up" not in run(checkout / "inv").stderr


@pytest.mark.parametrize("change", ["requirements.lock", "torch.toml", "stamp", "no stamp", "no pth", "python gone"])
def test_sets_up_again(ready: Path, change: str) -> None:
    if change == "stamp":
        (ready / ".venv/.lock-installed").write_bytes(b"\0" * 24)  # what a power cut can leave
    elif change == "no stamp":
        (ready / ".venv/.lock-installed").unlink()
    elif change == "no pth":
        next((ready / ".venv").rglob("seqlab-checkout.pth")).unlink()
    elif change == "python gone":
        (ready / ".venv/bin/python").unlink()
        (ready / ".venv/bin/python").symlink_to("/nonexistent/python3.11")
    else:
        (ready / "envs" / change).write_text("tiny==2\n")
    assert "set-up speaks" in run(ready / "inv").stderr
    assert run(ready / "inv").stderr == ""


def test_failed_set_up_ends_with_its_exit_code(checkout: Path) -> None:
    done = run(checkout / "inv", "--fail")
    assert (done.returncode, done.stdout) == (7, "")


def test_set_up_does_not_eat_standard_input(checkout: Path) -> None:
    (checkout / "envs/bootstrap.py").write_text(BOOTSTRAP + "assert sys.stdin.read() == ''\n")
    (checkout / "envs/cli.py").write_text("print(input())")
    assert run(checkout / "inv", input="for the task\n").stdout == "for the task\n"


def test_modules_of_envs_hide_nothing(ready: Path) -> None:
    (ready / "envs/json.py").write_text("raise SystemExit('the wrong json')")
    assert run(ready / "inv").returncode == 0


def test_says_what_to_install_without_python(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout / "inv", environ=tools(tmp_path / "bin"))
    assert done.returncode == 1
    for words in ("3.11 to 3.14", "none on PATH", "apt install python3 python3-venv", "dnf", "brew", "conda create"):
        assert words in done.stderr


def test_says_why_a_python_will_not_do(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout / "inv", environ=tools(tmp_path / "bin", python3=OLD_PYTHON))
    assert f"{tmp_path}/bin/python3: is cpython 3.9" in done.stderr
    given = run(checkout / "inv", environ={"SEQLAB_PYTHON": str(tmp_path / "bin/python3")})
    assert given.returncode == 1
    assert f"looked only at SEQLAB_PYTHON={tmp_path}/bin/python3" in given.stderr


def test_takes_a_later_python_when_the_first_is_too_old(checkout: Path, tmp_path: Path) -> None:
    real = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    done = run(checkout / "inv", environ=tools(tmp_path / "bin", python3=OLD_PYTHON, python3_12=real))
    assert done.returncode == 0, done.stderr


def test_bounds_agree_with_the_data_file() -> None:
    assert 'python = ["3.11", "3.14"]' in (ROOT / "envs/torch.toml").read_text("utf-8")
    assert "(3, 11) <= version <= (3, 14)" in (ROOT / "inv").read_text("utf-8")


def test_adds_under_50_ms_and_no_second_python(ready: Path, tmp_path: Path) -> None:
    lock = ready / "envs/requirements.lock"
    lock.write_bytes((ROOT / "envs/requirements.lock").read_bytes())  # comparing it is the wrapper's main cost
    run(ready / "inv")
    spy = f'#!/bin/sh\necho called >>"{tmp_path}/called"\n'
    environ = tools(tmp_path / "bin", python3=spy, python3_11=spy)

    def cpu_s(*command: str | Path) -> float:
        """Processor time of ten calls, one call's share: unlike wall time, it hardly depends on other load."""
        before = os.times()
        for _ in range(10):
            run(*command, environ=environ)
        after = os.times()
        return (after.children_user + after.children_system - before.children_user - before.children_system) / 10

    added_s = cpu_s(ready / "inv") - cpu_s(ready / ".venv/bin/python", "-P", ready / "envs/cli.py")
    assert added_s < 0.05
    assert not (tmp_path / "called").exists()


def test_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    done = run(shellcheck, "-s", "sh", ROOT / "inv")
    assert done.returncode == 0, done.stdout
