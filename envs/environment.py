"""The embedded environment: the venv that `./inv` keeps in step with the lock, and the blog's node beside it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from envs.errors import EnvironmentBroken
from envs.node import ensure, problem
from envs.provenance import environment

__all__ = ["prove", "status", "up"]

# Run in a fresh process: a broken installation must not take the kit down with it.
_PROOF = """
import json, torch
left, right = torch.randn(64, 64, dtype=torch.float64), torch.randn(64, 64, dtype=torch.float64)
by_hand = (left[:, :, None] * right[None]).sum(1)
devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
wrong = [d for d in devices if not torch.allclose((left.to(d) @ right.to(d)).cpu(), by_hand)]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "devices": devices, "wrong": wrong}))
"""


def prove() -> dict[str, Any]:
    """Import torch in a new process, multiply matrices on every device and compare with the sum by hand.

    Raises:
        EnvironmentBroken: torch does not import, or a device computes wrongly.
    """
    done = subprocess.run([sys.executable, "-c", _PROOF], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentBroken(
            f"torch does not work:\n{done.stderr.strip()}\n  next: remove .venv, then `./inv env.up`"
        )
    proof: dict[str, Any] = json.loads(done.stdout)
    if proof["wrong"]:
        raise EnvironmentBroken(f"{', '.join(proof['wrong'])} computes wrong products\n  next: `./inv doctor`")
    return proof


def up(root: Path, blog: Path, npm_registry: str | None) -> dict[str, Any]:
    """Make what is missing and prove that it works; returns what `status` returns, with the proof.

    Writes `.nodeenv` and `node_modules` in the hexo folder `blog`; the first call uses the network.
    """
    proof = prove()
    node = ensure(blog, npm_registry or None)
    return {**status(root, blog), "proof": proof, "node": node.version}


def status(root: Path, blog: Path) -> dict[str, Any]:
    """What the environment is made of and whether it is in step with the lock; changes nothing."""
    return {
        **environment(root),
        "prefix": sys.prefix,
        "node_problem": problem(blog),
    }
