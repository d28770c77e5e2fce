"""Renewing `envs/requirements.lock` from `pyproject.toml`: exact versions and hashes for every platform at once."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from envs.errors import EnvironmentBroken
from seqlab.files import replace_text

__all__ = ["renew", "without_torch"]

# torch and the CUDA libraries it brings differ by machine: envs/bootstrap.py installs them on their own.
_TORCH = re.compile(r"(torch|triton|cuda-[\w-]+|nvidia-(?!ml-py\b)[\w-]+)==")


def renew(root: Path, upgrade: bool) -> str:
    """Resolve the dependencies again and write the lock; returns a line on what changed.

    Runs `uv pip compile`, which asks the package index.

    Args:
        root: the checkout.
        upgrade: take the newest versions; otherwise those in the lock stay where they still fit.

    Raises:
        EnvironmentBroken: uv could not resolve; its own words are in the message.
    """
    lock = root / "envs" / "requirements.lock"
    torch = tomllib.loads((root / "envs" / "torch.toml").read_text(encoding="utf-8"))
    words = ["-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--group", "kit", "--group", "dev"]
    words += ["--universal", "--python-version", torch["python"][0], "--generate-hashes", "--constraints", "-"]
    words += ["--no-annotate", "--no-header", "--no-emit-index-url", "--quiet"]
    if not upgrade and lock.exists():
        # uv reads the versions to keep from its output file; ours lacks torch, which is pinned by the constraint.
        words += ["--output-file", str(lock)]
    before = lock.read_text(encoding="utf-8") if lock.exists() else ""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=root,
        input=f"torch=={torch['version']}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        replace_text(lock, before)
        raise EnvironmentBroken(f"uv could not resolve the dependencies:\n{done.stderr.strip()}")
    after = without_torch(done.stdout or lock.read_text(encoding="utf-8"))
    replace_text(lock, after)
    old, new = _pins(before), _pins(after)
    return f"{len(new)} packages: {len(new - old)} pins added, {len(old - new)} removed"


def without_torch(lock: str) -> str:
    """The lock without torch and what only torch brings; a pin is a line and the indented ones after it."""
    kept, dropping = [], False
    for line in lock.splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            dropping = bool(_TORCH.match(line))
        if not dropping:
            kept.append(line)
    return "".join(kept)


def _pins(lock: str) -> set[str]:
    return {line.split()[0] for line in lock.splitlines() if line and not line.startswith((" ", "#"))}
