"""Detached terminal sessions: tmux through libtmux, on a socket of this checkout's own.

The socket is private, so nothing here sees or disturbs a person's other tmux sessions, and `-f /dev/null` keeps
their `~/.tmux.conf` from changing how a training session lives and dies.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envs.errors import MissingTool, RunError

if TYPE_CHECKING:
    import libtmux

__all__ = ["HOW_TO_INSTALL", "attach_command", "has_session", "socket_name", "start_session"]

HOW_TO_INSTALL = (
    "tmux is not installed; training needs it to outlive this terminal\n"
    "  next: `sudo apt-get install tmux` (Debian, Ubuntu), `sudo dnf install tmux` (Fedora), "
    "`brew install tmux` (macOS), or without root `conda install -c conda-forge tmux`"
)
# The size a session has while nobody is attached.
WIDTH, HEIGHT = 160, 48


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
        RunError: tmux refused; its own words are in the message.
    """
    server = _server(root)
    from libtmux.exc import LibTmuxException

    line = f"exec {shlex.join(command)} 2>{shlex.quote(str(errors))}"
    try:
        server.new_session(session_name=name, window_command=line, attach=False, x=WIDTH, y=HEIGHT)
    except LibTmuxException as error:
        raise RunError(
            f"tmux could not start the session: {error}\n"
            f"  next: `tmux -L {socket_name(root)} ls` shows what runs on our socket"
        ) from error


def has_session(root: Path, name: str) -> bool:
    """Whether the session `name` exists; False also when tmux is missing."""
    if shutil.which("tmux") is None:
        return False
    words = ["tmux", "-L", socket_name(root), "has-session", "-t", f"={name}"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def attach_command(root: Path, name: str) -> list[str]:
    """The words that attach a terminal to the session `name`."""
    return ["tmux", "-u", "-L", socket_name(root), "attach-session", "-t", f"={name}"]


def _server(root: Path) -> "libtmux.Server":
    """A handle on the server of our socket (it need not run yet)."""
    if shutil.which("tmux") is None:
        raise MissingTool(HOW_TO_INSTALL)
    import libtmux
    from libtmux.common import has_minimum_version

    if not has_minimum_version(raises=False):
        version = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False).stdout.strip()
        raise MissingTool(
            f"{version or 'this tmux'} is too old: 3.2 or newer is needed\n"
            "  next: upgrade it, or without root `conda install -c conda-forge tmux`"
        )
    return libtmux.Server(socket_name=socket_name(root), config_file=os.devnull)
