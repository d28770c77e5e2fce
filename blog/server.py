"""Serves the site while it is written: `node …/hexo server`, which renders anew what changes.

Starts one process and ends it before returning, however the call ends; binds 127.0.0.1 unless told otherwise.
"""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from blog.site import is_stack
from envs.errors import PublishError
from envs.node import ensure

__all__ = ["free_port", "port_number", "serve"]

LOCAL = "127.0.0.1"
PORTS_TRIED = 50
GRACE_S = 5.0
# hexo says so of every new post, since it sees the file twice; the page is right.
HARMLESS = re.compile(r'WARN  Trying to "create" .* but the file already exists!')


def serve(
    blog_root: Path, port: int | None = None, first: int = 4000, host: str = LOCAL, registry: str | None = None
) -> None:
    """Serve the site until Ctrl-C, SIGTERM or a lost terminal.

    Args:
        blog_root: the hexo folder.
        port: exactly this port, or 0 for any free one; None takes `first` or the next free one after it.
        first: where the search begins.
        host: the address to listen on; anything but 127.0.0.1 shows the drafts of this machine to its network.
        registry: see `envs.node.ensure`.

    Raises:
        PublishError: the port is taken, the host is none of this machine's, or hexo ended by itself.
        EnvironmentBroken: node or the blog's packages cannot be made to work.
    """
    node = ensure(blog_root, registry)
    chosen = free_port(port, first, host)
    named = "localhost" if host == LOCAL else f"[{host}]" if ":" in host else host
    print(f"http://{named}:{chosen}/   Ctrl-C stops it", flush=True)
    if "SSH_CONNECTION" in os.environ and host == LOCAL:
        print(f"from your own machine: ssh -L {chosen}:{LOCAL}:{chosen} {socket.gethostname()}", flush=True)
    command = node.hexo("server", "--port", str(chosen), "--ip", host)
    with _interrupting(signal.SIGTERM, signal.SIGHUP):
        exit_code = _run_until_interrupted(command, node.root, node.environ())
    if exit_code:
        raise PublishError(f"hexo ended with {exit_code}; its own words are above\n  next: `./inv blog.check`")


def port_number(name: str, value: object) -> int:
    """Read a port from the command line or a setting: ASCII digits, nothing else.

    Raises:
        PublishError: it is no whole number from 0 to 65535; the message begins with `name`.
    """
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or int(str(value)) > 65535:
        raise PublishError(
            f"{name} takes a whole number from 0 to 65535, not {value!r}\n"
            "  next: `./inv blog.serve --port 0` takes any free one"
        )
    return int(str(value))


def free_port(port: int | None, first: int = 4000, host: str = LOCAL) -> int:
    """The port to serve on: the wanted one, any free one for 0, or for None the first free one from `first` on.

    Raises:
        PublishError: the wanted port is taken, needs rights we lack, or is none; or the host is not ours.
    """
    family, address = _address(host)
    wanted = [port] if port is not None else [*range(first, min(first + PORTS_TRIED, 65536))]
    reason = "is no port number"
    for candidate in wanted:
        if not 0 <= candidate < 65536:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as node does
            try:
                probe.bind((address, candidate))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise _wrong_host(host, "is no address of this machine") from None
                reason = f"cannot be used ({error.strerror})"
                continue
            return int(probe.getsockname()[1])
    named = str(wanted[0]) if len(wanted) == 1 else f"{first} to {wanted[-1] if wanted else first}"
    raise PublishError(f"port {named} {reason}\n  next: `./inv blog.serve --port 0` takes any free one")


def _address(host: str) -> tuple[socket.AddressFamily, str]:
    """The first numeric address of a host name, and its family."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise _wrong_host(host, f"is not known ({getattr(error, 'strerror', None) or error})") from None
    return family, str(address[0])


def _wrong_host(host: str, why: str) -> PublishError:
    return PublishError(
        f"the host {host!r} {why}\n  next: `./inv blog.serve --host 127.0.0.1`, or 0.0.0.0 for the whole network"
    )


def _run_until_interrupted(command: list[str], folder: Path, variables: dict[str, str]) -> int:
    """Run a child and pass its words on; returns its exit code, or 0 when we were interrupted and it is gone."""
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if not is_stack(line) and not HARMLESS.match(line):
                    print(line, end="", flush=True)
            return child.wait()
        except KeyboardInterrupt:
            print("\nstopping …", file=sys.stderr, flush=True)
            child.send_signal(signal.SIGINT)
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
    return 0


@contextmanager
def _interrupting(*signals: signal.Signals) -> Iterator[None]:
    """While the block runs these signals count as Ctrl-C, so that no child is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
