"""Detached terminal sessions: tmux through libtmux, on a socket of this checkout's own.

The socket is private, so nothing here sees or disturbs a person's other tmux sessions, and `-f /dev/null` keeps
their `~/.tmux.conf` from changing how a training session lives and dies.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import MissingTool, RunError

if TYPE_CHECKING:
    import libtmux

__all__ = [
    "HOW_TO_INSTALL",
    "OLDEST",
    "attach_command",
    "end_session",
    "has_session",
    "installed_version",
    "socket_name",
    "start_session",
]

HOW_TO_INSTALL = (
    "tmux is not installed; training needs it to outlive this terminal\n"
    "  next: `sudo apt-get install tmux` (Debian, Ubuntu), `sudo dnf install tmux` (Fedora), "
    "`brew install tmux` (macOS), or without root `conda install -c conda-forge tmux`"
)
# The size a session has while nobody is attached.
WIDTH, HEIGHT = 160, 48
# The oldest tmux that libtmux speaks with.
OLDEST = (3, 2)


def socket_name(root: Path) -> str:
    """The name of this checkout's tmux socket; SEQLAB_TMUX_SOCKET gives another (tests, several users' kits)."""
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    return os.environ.get("SEQLAB_TMUX_SOCKET") or f"seqlab-{digest}"


def start_session(root: Path, name: str, command: Sequence[str], errors: Path) -> None:
    """Start `command` in a new detached session `name`; what it writes to stderr goes to the file `errors`.

    Starts a tmux server when none runs on our socket. The command gets the server's environment: hand anything
    that matters over in a file.

    Raises:
        MissingTool: tmux is not installed, or too old for libtmux.
        RunError: tmux refused, and no session is left; its own words are in the message.
    """
    server = _server(root)
    line = f"exec {shlex.join(command)} 2>{shlex.quote(str(errors))}"
    try:
        with _plain_environment():
            server.new_session(session_name=name, window_command=line, attach=False, x=WIDTH, y=HEIGHT)
    except Exception as error:  # libtmux lets errors of its parsers through: whatever it was, no session may stay
        end_session(root, name)
        raise RunError(
            f"tmux could not start the session: {error}\n"
            f"  next: `tmux -L {socket_name(root)} ls` shows what runs on our socket"
        ) from error


@contextmanager
def _plain_environment() -> Iterator[None]:
    """What tmux takes from the caller, made the same for everyone.

    Without a UTF-8 locale tmux replaces the separators libtmux reads its answers by; and it starts commands with
    $SHELL, which for a service account is `nologin`. The training's own environment is handed over apart.
    """
    before = dict(os.environ)
    os.environ.update(LC_ALL="C.UTF-8", SHELL="/bin/sh")
    try:
        yield
    finally:
        for name in ("LC_ALL", "SHELL"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def end_session(root: Path, name: str) -> None:
    """Close the session `name`, if there is one; its runner is asked to stop."""
    if shutil.which("tmux") is not None:
        words = ["tmux", "-L", socket_name(root), "kill-session", "-t", f"={name}"]
        subprocess.run(words, capture_output=True, check=False)


def has_session(root: Path, name: str) -> bool:
    """Whether the session `name` exists; False also when tmux is missing."""
    if shutil.which("tmux") is None:
        return False
    words = ["tmux", "-L", socket_name(root), "has-session", "-t", f"={name}"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def attach_command(root: Path, name: str) -> list[str]:
    """The words that attach a terminal to the session `name`."""
    return ["tmux", "-u", "-L", socket_name(root), "attach-session", "-t", f"={name}"]


def installed_version() -> tuple[str, tuple[int, ...]] | None:
    """What `tmux -V` says, and the number in it (empty for a development version); None when tmux is missing."""
    try:
        done = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    if done.returncode or not said:
        return None
    number = re.search(r"(\d+)\.(\d+)", said)
    return said, tuple(int(part) for part in number.groups()) if number else ()


def _server(root: Path) -> "libtmux.Server":
    """A handle on the server of our socket (it need not run yet)."""
    version = installed_version()
    if version is None:
        raise MissingTool(HOW_TO_INSTALL)
    if version[1] and version[1] < OLDEST:
        raise MissingTool(
            f"{version[0]} is too old: 3.2 or newer is needed\n"
            "  next: upgrade it, or without root `conda install -c conda-forge tmux`"
        )
    import libtmux

    return libtmux.Server(socket_name=socket_name(root), config_file=os.devnull)
