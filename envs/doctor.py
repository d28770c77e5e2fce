"""`doctor`: what this machine has, what it lacks, why that matters and the command that mends it."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from envs.gpus import Unavailable, list_gpus
from envs.tmux import OLDEST, installed_version

__all__ = ["Finding", "examine", "exit_code", "table"]

LITTLE_DISK_BYTES = 5 << 30
NO_DISK_BYTES = 500 << 20

_TMUX_MEND = "sudo apt-get install tmux   (dnf install tmux · brew install tmux · conda install -c conda-forge tmux)"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `level`: ok, note (missing but not needed), warning, or broken (needed)."""

    name: str
    level: str
    found: str
    why: str = ""
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as JSON takes it."""
        return asdict(self)


def examine(root: Path) -> list[Finding]:
    """Look at everything; runs `--version` of a few programs and asks Docker and NVML, nothing more."""
    looks: list[Callable[[Path], Finding]] = [_python, _git, _tmux, _node, _docker, _nvidia, _disk]
    return [look(root) for look in looks]


def exit_code(findings: list[Finding]) -> int:
    """0 when all is well (notes included), 1 with warnings, 2 when something needed is broken."""
    levels = {finding.level for finding in findings}
    return 2 if "broken" in levels else 1 if "warning" in levels else 0


def table(findings: list[Finding]) -> str:
    """The findings as lines for a person."""
    marks = {"ok": "ok  ", "note": "note", "warning": "warn", "broken": "MISS"}
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.level]}  {finding.name:<{width}}  {finding.found}")
        indent = " " * (width + 8)
        if finding.why:
            lines.append(f"{indent}{finding.why}")
        if finding.mend:
            lines.append(f"{indent}mend: {finding.mend}")
    return "\n".join(lines)


def _output(*words: str) -> str | None:
    """The first line a program prints, or None when it is missing, broken or does not answer in 10 s."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = (done.stdout or done.stderr).strip()
    return text.splitlines()[0] if done.returncode == 0 and text else None


def _python(_root: Path) -> Finding:
    venv = "in its own environment" if sys.prefix != sys.base_prefix else "outside any environment"
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {venv}")


def _git(root: Path) -> Finding:
    version = _output("git", "--version")
    if version is None:
        return Finding(
            "git",
            "note",
            "not found",
            "runs cannot record the commit they came from",
            "sudo apt-get install git",
        )
    here = _output("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    return Finding(
        "git",
        "ok",
        version.removeprefix("git version ") + (f", commit {here}" if here else ", no commit here"),
    )


def _tmux(_root: Path) -> Finding:
    why = "training runs in a tmux session, so that it outlives the terminal"
    version = installed_version()
    if version is None:
        return Finding("tmux", "broken", "not found", why, _TMUX_MEND)
    if version[1] and version[1] < OLDEST:
        return Finding("tmux", "broken", f"{version[0]} is too old (3.2 is needed)", why, _TMUX_MEND)
    return Finding("tmux", "ok", version[0])


def _node(root: Path) -> Finding:
    """Node of the blog's own environment; the machine's does not matter."""
    own = root / "blog" / ".nodeenv" / "bin" / "node"
    version = _output(str(own), "--version") if own.exists() else None
    if version:
        return Finding("node", "ok", f"{version}, the kit's own")
    if own.exists():
        return Finding(
            "node",
            "warning",
            "the kit's own node does not start",
            "the blog needs it",
            "./inv env.up repairs it",
        )
    return Finding("node", "note", "not set up yet", "the blog brings its own at the first build", "./inv env.up")


def _docker(_root: Path) -> Finding:
    why = "nothing needs it yet: training runs in the venv"
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        if address.startswith("unix://"):
            _knock(address.removeprefix("unix://"))
        version = _engine_version()
    except ImportError as error:
        return Finding("Docker", "note", f"the Docker SDK is not usable ({error})", why, "./inv env.up")
    except PermissionError:
        mend = 'sudo usermod -aG docker "$USER", then log in again (members of that group are root in effect)'
        return Finding("Docker", "note", f"an engine runs, but we may not use {address}", why, mend)
    except (FileNotFoundError, ConnectionRefusedError):
        mend = (
            "sudo systemctl start docker" if shutil.which("dockerd") else "sudo apt-get install docker.io, or leave it"
        )
        return Finding("Docker", "note", f"no engine runs at {address}", why, mend)
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0][:160]
        return Finding("Docker", "note", f"the engine at {address} does not answer: {said}", why, "docker version")
    return Finding("Docker", "ok", f"Engine {version.get('Version')} (API {version.get('ApiVersion')})")


def _knock(path: str) -> None:
    """Connect to the engine's socket and hang up: the plain error, before the SDK wraps it and leaks the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(5)
        door.connect(path)


def _engine_version() -> dict[str, str]:
    """What the engine says of itself.

    Raises:
        OSError: it does not answer (the SDK's request errors are OSErrors).
        ValueError: its answer or DOCKER_HOST makes no sense.
    """
    from docker.constants import DEFAULT_DOCKER_API_VERSION
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    import docker

    try:
        client = docker.APIClient(version=DEFAULT_DOCKER_API_VERSION, timeout=5, **kwargs_from_env())
    except DockerException as error:
        raise ValueError(error) from error
    try:
        version: dict[str, str] = client.get(f"{client.base_url}/version").json()
    finally:
        client.close()
    return version


def _nvidia(_root: Path) -> Finding:
    gpus = list_gpus()
    if isinstance(gpus, Unavailable):
        return Finding("NVIDIA", "note", gpus.reason, "training runs on the CPU", "install a driver if there is a GPU")
    if not gpus:
        return Finding("NVIDIA", "note", "a driver, but no GPU", "training runs on the CPU")
    names = ", ".join(
        f"{gpu.index}: {gpu.name} ({gpu.memory_bytes >> 30} GiB, sm_{gpu.capability[0]}{gpu.capability[1]})"
        for gpu in gpus
    )
    driver = _driver_version()
    return Finding("NVIDIA", "ok", f"driver {driver}; {names}")


def _driver_version() -> str:
    import pynvml

    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    found = f"{free / (1 << 30):.1f} GiB free in {root}"
    if not os.access(root, os.W_OK):
        return Finding(
            "disk",
            "broken",
            f"{root} is read-only for us",
            "runs are kept there",
            "check `ls -ld` and `mount`",
        )
    if free < NO_DISK_BYTES:
        return Finding("disk", "broken", found, "a checkpoint may not fit", "free some space")
    if free < LITTLE_DISK_BYTES:
        return Finding("disk", "warning", found, "containers and many runs need more", "free some space")
    return Finding("disk", "ok", found)
