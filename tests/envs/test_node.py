"""The node environment: made from the wheel alone, repaired when broken, quick when it is there."""

import base64
import hashlib
import json
import shlex
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from envs import node
from envs.errors import EnvironmentBroken
from seqlab.errors import ConfigError


@pytest.fixture
def hexo_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a lock file of no packages, so that `npm ci` needs no network."""
    folder = tmp_path / "博客 'with' blanks"
    folder.mkdir()
    package = {"name": "empty", "version": "1.0.0", "private": True}
    lock = package | {"lockfileVersion": 3, "requires": True, "packages": {"": {"name": "empty", "version": "1.0.0"}}}
    (folder / "package.json").write_text(json.dumps(package), encoding="utf-8")
    (folder / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    monkeypatch.delenv(node.REGISTRY_VARIABLE, raising=False)
    return folder


def version_of(command: list[object], environment: node.NodeEnv) -> str:
    done = subprocess.run(command, env=environment.environ(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_needs_no_node_of_the_machine(hexo_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    for name in ("node", "nodejs", "npm", "nodeenv"):
        (fake / name).write_text("#!/bin/sh\necho v0.1.2-fake\n", encoding="utf-8")
        (fake / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")
    made = node.ensure(hexo_folder)
    assert version_of([made.node, "--version"], made) == made.version
    assert made.version.startswith("v24.")
    assert version_of([made.node.parent / "npm", "--version"], made)
    assert version_of([made.node.parent / "npx", "--version"], made)
    assert node.problem(hexo_folder) is None


def test_the_second_call_installs_nothing(hexo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = node.ensure(hexo_folder)
    monkeypatch.setattr(node, "_make_node", None)
    monkeypatch.setattr(node, "_install_packages", None)
    assert node.ensure(hexo_folder) == first


@pytest.mark.parametrize("broken", ["bin/node", "bin/npm", "seqlab.json"])
def test_a_half_deleted_environment_is_made_again(hexo_folder: Path, broken: str) -> None:
    made = node.ensure(hexo_folder)
    (hexo_folder / ".nodeenv" / broken).unlink()
    assert ".nodeenv" in str(node.problem(hexo_folder))
    node.ensure(hexo_folder)
    assert version_of([made.node, "--version"], made) == made.version


def test_a_node_of_another_machine_is_replaced(hexo_folder: Path) -> None:
    made = node.ensure(hexo_folder)
    made.node.unlink()
    made.node.write_bytes(b"\x7fELF of something else")
    made.node.chmod(0o755)
    node.ensure(hexo_folder)
    assert version_of([made.node, "--version"], made) == made.version


def test_an_interrupted_installation_is_repaired(hexo_folder: Path) -> None:
    node.ensure(hexo_folder)
    (hexo_folder / "node_modules" / ".seqlab").unlink()
    (hexo_folder / "node_modules" / "half").mkdir()
    assert "node_modules" in str(node.problem(hexo_folder))
    node.ensure(hexo_folder)
    assert not (hexo_folder / "node_modules" / "half").exists()
    assert node.problem(hexo_folder) is None


@pytest.mark.parametrize("harm", ["a file removed", "a file cut short"])
def test_a_half_deleted_package_is_installed_again(hexo_folder: Path, harm: str) -> None:
    package = hexo_folder / "local"
    package.mkdir()
    (package / "package.json").write_text('{"name": "local", "version": "1.0.0"}', encoding="utf-8")
    (package / "index.js").write_text("module.exports = 1;\n", encoding="utf-8")
    with_dependency(hexo_folder, "local-1.0.0.tgz", packed(hexo_folder, package))
    node.ensure(hexo_folder)
    file = hexo_folder / "node_modules" / "local" / "index.js"
    whole = file.read_bytes()
    file.unlink() if harm == "a file removed" else file.write_bytes(whole[:5])
    assert "node_modules" in str(node.problem(hexo_folder))
    node.ensure(hexo_folder)
    assert file.read_bytes() == whole
    (hexo_folder / "node_modules" / ".cache").mkdir()  # some packages make one
    (hexo_folder / "node_modules" / ".cache" / "x").write_text("x", encoding="utf-8")
    assert node.problem(hexo_folder) is None


def packed(folder: Path, package: Path) -> Path:
    """A package as npm packs it."""
    path = folder / "local-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
    return path


def with_dependency(folder: Path, name: str, archive: Path) -> None:
    """Let the folder depend on one packed package that lies in it."""
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    package["dependencies"] = lock["packages"][""]["dependencies"] = {"local": f"file:{name}"}
    entry = {"version": "1.0.0", "resolved": f"file:{name}", "integrity": f"sha512-{digest}"}
    lock["packages"]["node_modules/local"] = entry
    (folder / "package.json").write_text(json.dumps(package), encoding="utf-8")
    (folder / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")


def test_npm_is_quiet_while_all_is_well(hexo_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    environment = node.ensure(hexo_folder)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"[node {environment.version}] npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier"
    ]


def test_a_changed_lock_file_installs_again(hexo_folder: Path) -> None:
    node.ensure(hexo_folder)
    lock = hexo_folder / "package-lock.json"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert "node_modules" in str(node.problem(hexo_folder))
    node.ensure(hexo_folder)
    assert node.problem(hexo_folder) is None


def test_a_moved_folder_is_made_again(hexo_folder: Path, tmp_path: Path) -> None:
    node.ensure(hexo_folder)
    moved = hexo_folder.rename(tmp_path / "moved")
    assert node.problem(moved) is not None
    assert node.ensure(moved).node == moved / ".nodeenv" / "bin" / "node"


def test_two_callers_at_once(hexo_folder: Path) -> None:
    made: list[node.NodeEnv] = []
    threads = [threading.Thread(target=lambda: made.append(node.ensure(hexo_folder))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] == made[1]
    assert node.problem(hexo_folder) is None


def test_npms_own_words_are_shown_and_a_mirror_is_named(
    hexo_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = json.loads((hexo_folder / "package-lock.json").read_text(encoding="utf-8"))
    package = json.loads((hexo_folder / "package.json").read_text(encoding="utf-8"))
    package["dependencies"] = lock["packages"][""]["dependencies"] = {"nothing": "1.0.0"}
    lock["packages"]["node_modules/nothing"] = {"version": "1.0.0"}
    (hexo_folder / "package.json").write_text(json.dumps(package), encoding="utf-8")
    (hexo_folder / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv(node.REGISTRY_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(EnvironmentBroken, match=r"next: `SEQLAB_NPM_REGISTRY=.* \./inv env\.up`"):
        node.ensure(hexo_folder, "http://127.0.0.1:10")
    captured = capfd.readouterr()
    assert "npm error" in captured.err
    assert "127.0.0.1:9" in captured.err  # the variable wins over the setting
    assert captured.out == ""


def test_a_registry_that_is_no_address_is_refused(hexo_folder: Path) -> None:
    with pytest.raises(ConfigError, match="http"):
        node.ensure(hexo_folder, "--ignore-scripts=false")


def test_a_folder_that_is_no_hexo_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBroken, match=r"package-lock\.json"):
        node.ensure(tmp_path)


def test_a_broken_wheel_is_said(hexo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_version", lambda path: (None, f"{path}: Exec format error"))
    with pytest.raises(EnvironmentBroken, match=r"does not run: .*Exec format error\n  next: `rm -r "):
        node.ensure(hexo_folder)
    assert "does not run" in str(node.problem(hexo_folder))


def test_a_folder_that_cannot_be_written_is_said(hexo_folder: Path) -> None:
    (hexo_folder / ".nodeenv.lock").mkdir()
    assert shlex.quote(str(hexo_folder)) != str(hexo_folder)
    with pytest.raises(EnvironmentBroken, match=r"cannot be written: Is a directory: .*\n  next: `ls -ld "):
        node.ensure(hexo_folder)
