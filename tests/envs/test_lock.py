"""The lock: what is pinned, and that it is what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

from envs.lock import without_torch

LOCK = """\
nvidia-cublas==13.4 ; sys_platform == 'linux' \\
    --hash=sha256:aa
nvidia-ml-py==13.6 \\
    --hash=sha256:bb
torch==2.13.0 \\
    --hash=sha256:cc \\
    --hash=sha256:dd
torchmetrics==1.0 \\
    --hash=sha256:ee
triton==3.9.0 \\
    --hash=sha256:ff
"""


def test_torch_and_its_cuda_libraries_are_left_out_and_nothing_else() -> None:
    assert re.findall(r"^\S+", without_torch(LOCK), re.MULTILINE) == ["nvidia-ml-py==13.6", "torchmetrics==1.0"]
    assert re.findall(r"sha256:\w+", without_torch(LOCK)) == ["sha256:bb", "sha256:ee"]


def test_the_lock_pins_every_direct_dependency_with_hashes(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    wanted = [line for group in groups for line in group] + project["project"]["dependencies"]
    lock = (root / "envs" / "requirements.lock").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    assert {re.split(r"[<>=!~ ]", line)[0] for line in wanted} - {"torch"} <= pinned
    assert all("--hash=sha256:" in pin for pin in re.split(r"\n(?=\S)", lock.strip()))
    assert "://" not in lock
