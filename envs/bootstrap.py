"""Make or mend `.venv`, the environment every task runs in. Called by `./inv`; standard library only.

Files, all in the checkout:
    .venv/                  the environment
    .venv/.lock-installed   the stamp: a copy of what is installed (requirements.lock, torch.toml), written last
    .venv/lib/python…/site-packages/seqlab-checkout.pth   makes `import seqlab` work in any script .venv's Python runs
    .venv.lock              locked (flock) while a set-up works; says "working" from its start to its end

A stamp vouches for a whole environment. "working" without a stamp is a set-up that was cut off: it is done over from
nothing, which pip's cache makes cheap. A `.venv` with neither was made by hand: it is kept and completed.

Network: pip's index (SEQLAB_PIP_INDEX, else `mirrors: pip:` in invoke.yaml, else pip's own configuration) and, without
an NVIDIA driver, PyTorch's CPU index (SEQLAB_TORCH_INDEX, else `mirrors: torch_cpu:`, else envs/torch.toml).
"""

import errno
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from envs.errors import EnvironmentBroken  # noqa: E402
from envs.torch_builds import Torch, choose_torch, driver_version, read_indexes, without_credentials  # noqa: E402
from seqlab.errors import SeqlabError  # noqa: E402

__all__ = ["Environment", "exclusive", "main", "set_up"]

PROBE_TIMEOUT_S = 3
STARTED = time.monotonic()

CHECKOUT_PTH = "seqlab-checkout.pth"
# Computed anew at each start, so it survives a move and needs no encoding; last on the path, so it hides nothing.
CHECKOUT_LINE = "import os, sys; sys.path.append(os.path.dirname(os.path.abspath(sys.prefix)))\n"

DISK_FULL = (
    "the disk is full; the environment needs about {disk_gb} GB, and pip unpacks in $TMPDIR (/tmp)\n"
    "  next: `df -h . /tmp` shows what is free; `TMPDIR=/other/disk ./inv …` unpacks elsewhere"
)
# What pip's messages mean to the user: the first pattern found decides.
ADVICE = (
    ("No space left|Disk quota exceeded", DISK_FULL),
    (
        "DO NOT MATCH THE HASHES",
        "the index served another file than the lock pins: a mirror out of step, a damaged download, or tampering\n"
        "  next: ask another index, and not the cache: PIP_NO_CACHE_DIR=1 SEQLAB_PIP_INDEX=URL ./inv …",
    ),
    (
        "ProxyError|Tunnel connection failed|Proxy Authentication",
        "the proxy refused\n  next: check it: `env | grep -i _proxy` and `python3 -m pip config list`",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "the index's certificate is not trusted\n"
        "  next: behind a company proxy, name its certificates: PIP_CERT=/path/to/company-ca.pem ./inv …",
    ),
    ("Permission denied|Read-only file", "pip could not write\n  next: check who owns {root} and $TMPDIR: `ls -ld`"),
    (
        "NewConnectionError|NameResolution|Connection refused|timed out|Max retries|IncompleteRead|HTTP error"
        "|No matching distribution",
        "is this machine online, and does the index carry the packages ({wheels})?\n"
        "  next: try a mirror: SEQLAB_PIP_INDEX=https://pypi.tuna.tsinghua.edu.cn/simple ./inv …\n"
        "  or, for good, `pip:` under `mirrors:` in invoke.yaml; docs/setup.md lists mirrors",
    ),
    ("", "pip's own message above says why\n  next: mend that, then run the same command again"),
)


def say(message: str) -> None:
    """Print progress on standard error, with the seconds since the start."""
    print(_progress(message), file=sys.stderr, flush=True)


def _progress(message: str) -> str:
    elapsed_s = int(time.monotonic() - STARTED)
    return f"inv: {f'[{elapsed_s} s] ' if elapsed_s else ''}{message}"


class Step:
    """One line of progress for a step that may take minutes: on a terminal its seconds count up while it lasts."""

    def __init__(self, message: str) -> None:
        self.message, self.is_terminal = message, sys.stderr.isatty()
        self.printing, self.over = threading.Lock(), threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Step":
        self._show()
        if self.is_terminal:
            self.ticker.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.over.set()
        if self.is_terminal:
            self.ticker.join()
            print(file=sys.stderr, flush=True)

    def pass_on(self, line: str) -> None:
        """Print another program's line as it is, above the progress."""
        with self.printing:
            sys.stderr.write(f"\r\033[K{line}" if self.is_terminal else line)
            sys.stderr.flush()

    def _tick(self) -> None:
        while not self.over.wait(1):
            self._show()

    def _show(self) -> None:
        line = _progress(self.message)
        if self.is_terminal:  # cut to the width: a line that wraps cannot be written over
            line = f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}"
        with self.printing:
            print(line, end="" if self.is_terminal else "\n", file=sys.stderr, flush=True)


class Environment:
    """The `.venv` of one checkout, while its lock is held."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root, self.lock = root, lock
        self.python = root / ".venv/bin/python"
        self.stamp = root / ".venv/.lock-installed"
        self.requirements = root / "envs/requirements.lock"
        facts = root / "envs/torch.toml"
        self.wanted = self.requirements.read_bytes() + facts.read_bytes()
        self.facts = tomllib.loads(facts.read_text("utf-8"))
        self.indexes = read_indexes(root, os.environ)
        self.disk_gb: float = self.facts["build"][-1]["disk_gb"]

    def is_current(self) -> bool:
        """Tell whether what is wanted is installed, the Python below it is still there, and it finds the checkout."""
        return self._is_installed() and all(path.exists() for path in self._checkout_paths())

    def _is_installed(self) -> bool:
        return self.python.exists() and self.stamp.exists() and self.stamp.read_bytes() == self.wanted

    def _checkout_paths(self) -> list[Path]:
        return [folder / CHECKOUT_PTH for folder in self.root.glob(".venv/lib/python*/site-packages")]

    def is_usable(self) -> bool:
        """Tell whether the environment's Python starts and has a version the lock supports."""
        low, high = (tuple(map(int, bound.split("."))) for bound in self.facts["python"])
        check = f"import sys; sys.exit(not {low} <= sys.version_info[:2] <= {high})"
        return self.python.exists() and subprocess.run([self.python, "-c", check], check=False).returncode == 0

    def bring_up_to_date(self) -> None:
        """Install what is wanted, from nothing when what is there cannot be trusted; write the stamp last."""
        if self._is_installed():  # by a set-up that did not know this file yet: no package needs to move
            self._link_checkout()
            return
        old = self.stamp.read_bytes() if self.stamp.exists() else b""
        cut_off = not old and os.pread(self.lock, 7, 0) == b"working"
        fresh = cut_off or not self.is_usable()
        if cut_off:
            say("an earlier set-up was cut off: doing it over")
        elif not fresh:
            say("the lock has changed: updating .venv" if old else "completing the .venv that is here")
        if old and not fresh:
            self._install("--dry-run")  # downloads everything: when that fails, .venv is still as it was
        os.pwrite(self.lock, b"working", 0)
        os.fsync(self.lock)
        self.stamp.unlink(missing_ok=True)
        if fresh:
            self._create()
        self._install()
        self._uninstall(_names(old) - _names(self.wanted))
        self._link_checkout()
        self._write_stamp()

    def _link_checkout(self) -> None:
        """Let every script that `.venv`'s Python runs import `seqlab` from the checkout around it."""
        for path in self._checkout_paths():
            part = path.with_suffix(".part")
            part.write_text(CHECKOUT_LINE, encoding="ascii")
            part.replace(path)

    def _create(self) -> None:
        # The versioned name: where the system's python3 moves on, the link dangles and .venv is made again.
        base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        say(f"making .venv with Python {sys.version.split()[0]} ({base})")
        self._run([base, "-m", "venv", "--clear", "--without-pip", str(self.root / ".venv")])

    def _install(self, *options: str) -> None:
        if not self._has("pip-*"):
            self._run([str(self.python), "-m", "ensurepip", "--default-pip"])
        doing = "checking" if options else "installing"
        torch = self._torch  # chosen first: its warning comes before any download
        index = {"PIP_INDEX_URL": self.indexes["pip"]} if "pip" in self.indexes else {}
        packages = ["--no-deps", "--require-hashes", "-r", str(self.requirements), *options]
        self._pip(f"{doing} the packages of envs/requirements.lock", packages, index)
        if torch:
            step = f"{doing} torch ({torch.reason})"
            self._pip(step, [torch.requirement, *options], index | torch.environment)

    @cached_property
    def _torch(self) -> Torch | None:
        """The torch to install; None when this version is installed already, whichever build it is."""
        if self._has(f"torch-{self.facts['version']}[.+]*"):
            return None
        driver = driver_version()
        if driver is None and sys.platform == "linux":
            say("no NVIDIA driver: looking for torch's CPU build")
        torch = choose_torch(self.facts, self.indexes, driver, self._offers, os.environ)
        if torch.warning:
            say(torch.warning)
        self.disk_gb = torch.disk_gb
        free_gb = shutil.disk_usage(self.root).free / 1e9
        if free_gb < torch.disk_gb:
            say(f"this may not fit: it needs about {torch.disk_gb} GB and the disk has {free_gb:.1f} GB free")
        return torch

    def _offers(self, version: str, settings: dict[str, str]) -> bool:
        """Ask pip, so that its proxy, certificates, credentials and platform rules hold for the answer too."""
        index = {"PIP_INDEX_URL": self.indexes["pip"]} if "pip" in self.indexes else {}
        command = [str(self.python), "-m", "pip", "index", "versions", "torch", "--no-input"]
        command += ["--timeout", str(PROBE_TIMEOUT_S), "--retries", "0"]
        environment = self._environ(index | settings)
        limit_s = PROBE_TIMEOUT_S + 5  # pip's own start can be slow; a server that drips bytes must not hold us
        try:
            answer = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        listed = re.search(r"^Available versions:(.*)$", answer.stdout, re.MULTILINE)
        return listed is not None and version in listed[1].replace(",", " ").split()

    def _uninstall(self, names: set[str]) -> None:
        if names:
            say(f"removing what the lock no longer names: {', '.join(sorted(names))}")
            self._run([str(self.python), "-m", "pip", "uninstall", "--yes", *sorted(names)])

    def _write_stamp(self) -> None:
        os.sync()  # a stamp must not reach the disk before the packages it vouches for
        part = self.stamp.with_name(".lock-installed.part")
        with part.open("wb") as file:
            file.write(self.wanted)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.stamp)
        os.ftruncate(self.lock, 0)

    def _pip(self, step: str, arguments: list[str], settings: dict[str, str]) -> None:
        """Run `pip install`: quiet while all is well, its warnings and errors shown as they are.

        Raises:
            EnvironmentBroken: it failed; with the command and what to try.
        """
        command = [str(self.python), "-m", "pip", "install", "--no-user", "--no-input"]
        command += ["--quiet", "--progress-bar", "off", *arguments]
        errors: deque[str] = deque(maxlen=200)
        with Step(step) as progress, subprocess.Popen(
            command, env=self._environ(settings), stderr=subprocess.PIPE, text=True, errors="replace",
            pass_fds=[self.lock],  # a pip that outlives us keeps the lock: nobody starts beside it
        ) as process:  # fmt: skip
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    errors.append(line)
                    progress.pass_on(line)
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            shown = [f"{name}={without_credentials(value.split()[-1])}" for name, value in settings.items()]
            say("$ " + " ".join(shown + [shlex.quote(word.removeprefix(f"{self.root}/")) for word in command]))
            raise EnvironmentBroken(f"pip failed: {self._advice(''.join(errors))}")

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, env=self._environ({}), pass_fds=[self.lock], capture_output=True, check=False)
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace")
            words = output.partition("Traceback (most recent call last)")[0]
            raise EnvironmentBroken(f"{shlex.join(command)} failed:\n{words}{self._advice(output)}")

    def _environ(self, settings: dict[str, str]) -> dict[str, str]:
        # PYTHONPATH would let pip count packages from outside as installed.
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        return inherited | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | settings

    def _advice(self, output: str) -> str:
        advice = next(text for pattern, text in ADVICE if re.search(pattern, output, re.IGNORECASE))
        return advice.format(disk_gb=self.disk_gb, root=self.root, wheels=self.facts["wheels"])

    def _has(self, distribution: str) -> bool:
        return any(self.root.glob(f".venv/lib/python*/site-packages/{distribution}.dist-info"))


@contextmanager
def exclusive(root: Path) -> Iterator[int]:
    """Hold the checkout's set-up lock, waiting for another set-up to end; yields the lock's file descriptor."""
    descriptor = os.open(root / ".venv.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is at work: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def set_up(root: Path) -> None:
    """Bring `root/.venv` up to date, unless another call just did."""
    with exclusive(root) as lock:
        environment = Environment(root, lock)
        if not environment.is_current():
            environment.bring_up_to_date()
            say("ready")


def main(arguments: list[str]) -> int:
    """Set up the checkout this file is in; returns the exit code. `--debug` shows a failure's stack trace."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        set_up(ROOT)
    except KeyboardInterrupt:
        say("interrupted; the next call does it over")
        return 128 + signal.SIGINT
    except (SeqlabError, OSError) as error:
        if "--debug" in arguments:
            raise
        message = _explain(error) if isinstance(error, OSError) else str(error)
        print(f"error: {message}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def _explain(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        python = ROOT / ".venv/bin/python"
        if os.path.islink(python) and not os.access(python, os.X_OK):  # noqa: PTH114  # Path's raises where it may not look
            why = (
                f".venv has to be made again: its Python, {os.path.realpath(python)}, cannot be started by this user\n"
            )
        else:
            why = ""
        return (
            f"{why}cannot write in {ROOT}: {error}\n  next: make the folder yours (`ls -ld`, chown), or clone elsewhere"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}\n  next: `df -h {shlex.quote(str(ROOT))}`, free some, then run it again"
    return f"{error}\n  next: `git status` shows whether the checkout is whole; --debug shows the stack trace"


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _names(lock: bytes) -> set[str]:
    return {name.decode() for name in re.findall(rb"^([A-Za-z0-9][\w.-]*)==", lock, re.MULTILINE)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
