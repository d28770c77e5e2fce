"""Fixtures every room's tests may use."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Two workers with two OpenMP threads each share the cores: see seqlab/train/command.py.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture
def tmux_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A tmux server of the test's own, ended with everything in it afterwards."""
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed: apt-get install tmux")
    name = f"seqlab-test-{os.getpid()}-{abs(hash(tmp_path)) % 10**8}"
    monkeypatch.setenv("SEQLAB_TMUX_SOCKET", name)
    yield name
    subprocess.run([tmux, "-L", name, "kill-server"], capture_output=True, check=False)
    folder = Path(os.environ.get("TMUX_TMPDIR") or "/tmp") / f"tmux-{os.getuid()}"
    (folder / name).unlink(missing_ok=True)
