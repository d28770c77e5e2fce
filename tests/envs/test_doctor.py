"""`doctor`: every finding on machines that lack things; nothing it meets may make it fail."""

import os
from pathlib import Path

import pytest

from envs import doctor
from envs.doctor import Finding, examine, exit_code, table
from envs.gpus import GPU, Unavailable


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_this_machine(root: Path) -> None:
    findings = by_name(examine(root))
    assert set(findings) == {"Python", "git", "tmux", "node", "Docker", "NVIDIA", "disk"}
    assert findings["Python"].level == "ok"
    for finding in findings.values():
        assert finding.level == "ok" or finding.why, f"{finding.name} does not say why it matters"
        assert finding.level in ("ok", "note", "warning", "broken")


def test_a_bare_machine_lacks_only_tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    findings = by_name(examine(tmp_path))
    assert findings["tmux"].level == "broken"
    assert "apt-get install tmux" in findings["tmux"].mend
    assert findings["git"].level == "note"
    assert findings["node"].level == "note"
    assert findings["Docker"].level == "note"
    assert "no engine runs" in findings["Docker"].found
    assert exit_code(list(findings.values())) == 2


def test_an_old_tmux_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "tmux"
    fake.write_text("#!/bin/sh\necho tmux 2.9a\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = by_name(examine(tmp_path))["tmux"]
    assert finding.level == "broken"
    assert "2.9a is too old" in finding.found


def test_a_program_that_hangs_or_crashes_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexit 127\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert by_name(examine(tmp_path))["git"].level == "note"


def test_a_broken_node_names_its_repair(tmp_path: Path) -> None:
    node = tmp_path / "blog" / ".nodeenv" / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.write_text("not a program")
    finding = by_name(examine(tmp_path))["node"]
    assert finding.level == "warning"
    assert "./inv env.up" in finding.mend


def test_a_socket_we_may_not_use_is_told_from_a_missing_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_path: str) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(doctor, "_knock", forbidden)
        finding = by_name(examine(tmp_path))["Docker"]
        assert "may not use" in finding.found
        assert "usermod -aG docker" in finding.mend
    for address in ("tcp://127.0.0.1:9", "nonsense://x", f"unix://{tmp_path}"):
        monkeypatch.setenv("DOCKER_HOST", address)
        finding = by_name(examine(tmp_path))["Docker"]
        assert finding.level == "note"
        assert address in finding.found


@pytest.mark.skipif(
    "SEQLAB_TEST_DOCKER" not in os.environ,
    reason="no Docker Engine for tests: apt-get install docker.io, start dockerd, set SEQLAB_TEST_DOCKER=unix://…",
)
def test_a_real_engine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", os.environ["SEQLAB_TEST_DOCKER"])
    finding = by_name(examine(tmp_path))["Docker"]
    assert finding.level == "ok"
    assert finding.found.startswith("Engine ")


def test_gpus_are_listed_with_their_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = GPU(0, "GPU-0", "Made-up 9000", 80 << 30, 0, (9, 0))
    monkeypatch.setattr(doctor, "list_gpus", lambda: [made_up])
    monkeypatch.setattr(doctor, "_driver_version", lambda: "580.1")
    assert by_name(examine(tmp_path))["NVIDIA"].found == "driver 580.1; 0: Made-up 9000 (80 GiB, sm_90)"
    monkeypatch.setattr(doctor, "list_gpus", list)
    assert by_name(examine(tmp_path))["NVIDIA"].level == "note"
    monkeypatch.setattr(doctor, "list_gpus", lambda: Unavailable("no usable NVIDIA driver"))
    assert "no usable" in by_name(examine(tmp_path))["NVIDIA"].found


def test_little_and_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = doctor.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage._replace(free=1 << 30))
    assert by_name(examine(tmp_path))["disk"].level == "warning"
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage._replace(free=1 << 20))
    assert by_name(examine(tmp_path))["disk"].level == "broken"


def test_exit_codes_and_table() -> None:
    fine, note = Finding("a", "ok", "x"), Finding("b", "note", "y", "why", "mend it")
    warning, broken = Finding("c", "warning", "z", "why"), Finding("d", "broken", "z", "why")
    assert [exit_code(findings) for findings in ([fine], [fine, note], [warning, note], [broken, warning])] == [
        0,
        0,
        1,
        2,
    ]
    assert "mend: mend it" in table([fine, note])
