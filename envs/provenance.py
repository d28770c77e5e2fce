"""Where a run comes from: the code's commit, the environment and the machine. Reads; runs `git` and nothing else."""

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["environment", "git_state", "host_and_user"]


def git_state(root: Path) -> tuple[dict[str, Any], str]:
    """The commit of `root` and whether tracked files differ from it, with the diff; empty without git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        reason = "git is not installed" if shutil.which("git") is None else "this folder is not a git checkout"
        return {"commit": None, "dirty": None, "note": reason}, ""
    diff = _git(root, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--", ".", ":(exclude)blog/source") or ""
    return {"commit": commit.strip(), "dirty": bool(diff)}, diff


def _git(root: Path, *words: str) -> str | None:
    """What `git WORDS` prints in `root`, or None when it fails or git is missing."""
    # Inside a git hook GIT_DIR names another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], env=variables, capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def environment(root: Path) -> dict[str, Any]:
    """Python, torch, operating system, processor and the lock's hash; imports nothing heavy."""
    lock = root / "envs" / "requirements.lock"
    return {
        "backend": "venv",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "prefix_is_venv": sys.prefix != sys.base_prefix,
    }


def host_and_user() -> dict[str, str]:
    """The machine's name and ours."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a passwd entry
        user = str(os.getuid())
    return {"host": socket.gethostname(), "user": user}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The processor's marketing name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
