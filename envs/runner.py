"""The process inside a session: takes the GPUs, starts the training, keeps its log and its books.

    python envs/runner.py RUN_FOLDER [ENVIRONMENT_FILE]

tmux gives the terminal; this process does everything that must not depend on tmux. It holds the run's lock,
writes `log.txt`, `heartbeat.json` and the states in `run.json`, passes INT, TERM and HUP on as a request to write
a checkpoint and stop, and kills the training when the grace period is over (at once on USR1). Standard library
only, and NVML.

If this process itself is killed, the kernel sends the training SIGTERM, so it writes a checkpoint and ends.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _here = Path(__file__).resolve().parent
    sys.path[:] = [str(_here.parent), *(entry for entry in sys.path if entry != str(_here))]

from envs.errors import RunError
from envs.gpus import GPU, Unavailable, list_gpus, parse_request, take
from envs.logfile import LogFile
from seqlab.errors import SeqlabError
from seqlab.files import read_json, replace_json

__all__ = ["Runner", "main", "utc_now"]

HEARTBEAT_S = 2.0
GPU_RETRY_S = 2.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ALREADY_RUNNING = 3


def utc_now() -> str:
    """Now as `2026-11-23T04:31:11Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Runner:
    """Runs the command of one run folder once (one attempt)."""

    def __init__(self, folder: Path, handed: Path | None = None) -> None:
        self.folder = folder
        self.handed = handed
        self.stop_signal: int | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self._kill_at = float("inf")
        self._beat_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Run to the end; returns what this process should exit with."""
        lock = self._lock()
        if lock is None:
            print(f"{self.folder.name} is already running", file=sys.stderr)
            return ALREADY_RUNNING
        self.record = read_json(self.folder / "run.json") or {}
        self.log = LogFile(self.folder / "log.txt")
        self._catch_signals()
        self._beat()  # from here on `train.stop` knows whom to signal
        attempt: dict[str, Any] = {"started": utc_now(), "ended": None, "exit_code": None, "signal": None}
        self.record.setdefault("attempts", []).append(attempt)
        if len(self.record["attempts"]) > 1:
            self.log.note(f"attempt {len(self.record['attempts'])}, {utc_now()}")
        try:
            self.given = self._take_environment()
            self._record()  # the attempt on disk tells the launcher that we have taken over
            code = self._supervise(lock)
        except (SeqlabError, OSError) as error:
            verdict = ("failed", 1, str(error))
        else:
            verdict = self._verdict(code)
        exit_code = verdict[1]
        attempt.update(ended=utc_now(), exit_code=exit_code, signal=exit_code - 128 if exit_code > 128 else None)
        self._finish(*verdict)
        return exit_code

    def _supervise(self, lock: int) -> int:
        """Wait for the GPUs, start the command and see it through; returns its exit code (negative: signal)."""
        gpus = self._wait_for_gpus()
        if gpus is None:
            return -(self.stop_signal or signal.SIGTERM)
        devices, locks = gpus
        self._record(
            state="running",
            started=self.record.get("started") or utc_now(),
            finished=None,
            exit_code=None,
            signal=None,
            message="",
            pid=os.getpid(),
            gpu={**self.record.get("gpu", {}), "devices": [f"{gpu.index}: {gpu.name}" for gpu in devices]},
        )
        master, slave = pty.openpty()
        self._copy_window_size(slave)
        self.child = subprocess.Popen(
            self.record["command"],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            cwd=self.record.get("cwd") or None,
            env=self._environment(devices),
            start_new_session=True,
            preexec_fn=_die_with_parent,
            # The training holds the locks too: should it outlive this process, the run still counts as alive.
            pass_fds=(lock, *locks),
        )
        os.close(slave)
        self._beat()
        if self.stop_signal is not None:  # asked between the look at the GPUs and now
            self._signal_group(signal.SIGTERM)
        while self._read(master):
            self._keep_books()
        code = self.child.wait()
        self._end_leftovers()
        self._drain(master)
        os.close(master)
        return code

    def _lock(self) -> int | None:
        """Take the run's lock and write our process id into it; None when another runner has it."""
        descriptor = os.open(self.folder / "runner.lock", os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(40):  # `Run.is_alive` holds it for a moment each time it looks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.025)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        return None

    def _wait_for_gpus(self) -> tuple[list[GPU], list[int]] | None:
        """The GPUs the run asked for and their lock descriptors; None when stopped while waiting."""
        request = parse_request(str(self.record.get("gpu", {}).get("requested", "none")))
        said = False
        while not self.stop_signal:
            gpus = list_gpus() if request.count or request.indices else []
            found = take(request, [] if isinstance(gpus, Unavailable) else gpus)
            if found is not None:
                return found
            if not said:
                self.log.note("all GPUs are taken; waiting for one to become free")
                said = True
            self._beat()
            self._sleep(GPU_RETRY_S)
        return None

    def _take_environment(self) -> dict[str, str]:
        """The launcher's environment, from the file it was handed over in, which is removed at once."""
        if self.handed is None:
            return dict(os.environ)
        environment = read_json(self.handed)
        self.handed.unlink(missing_ok=True)
        if environment is None:
            raise RunError(f"the environment in {self.handed} cannot be read\n  next: `./inv train.resume`")
        return {**environment, "TERM": os.environ.get("TERM", "dumb")}

    def _environment(self, devices: list[GPU]) -> dict[str, str]:
        """What the training gets: the launcher's environment, with the kit's Python first on PATH."""
        environment = dict(self.given)
        for name in ("TMUX", "TMUX_PANE", "PYTHONHOME"):
            environment.pop(name, None)
        programs = str(Path(sys.executable).parent)
        environment["PATH"] = f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"
        environment["VIRTUAL_ENV"] = sys.prefix
        environment["PYTHONUNBUFFERED"] = "1"
        environment["SEQLAB_RUN"] = str(self.folder)
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in devices)
        return environment

    def _read(self, master: int) -> bool:
        """Move what the training printed to the log and the terminal; False once it has ended."""
        assert self.child is not None
        ready, _, _ = select.select([master, self._wake_read], [], [], 0.5)
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 512)
        if master in ready and not self._pass_on(master):
            # Every holder of the terminal has closed it: the training has ended or is about to.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(timeout=0.5)
        return self.child.poll() is None

    def _pass_on(self, master: int) -> bool:
        """Copy one piece of output; False at its end."""
        try:
            data = os.read(master, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux reports a closed terminal as an input/output error
                raise
            data = b""
        if data:
            self.log.feed(data)
            with contextlib.suppress(OSError):  # the session's terminal may be gone; the log is what counts
                os.write(sys.stdout.fileno(), data)
        return bool(data)

    def _drain(self, master: int) -> None:
        """Take what is still in the terminal's buffer after the training has ended."""
        while select.select([master], [], [], 0)[0] and self._pass_on(master):
            pass

    def _keep_books(self) -> None:
        """Heartbeat, and the end of the grace period."""
        if time.monotonic() - self._beat_at >= HEARTBEAT_S:
            self._beat()
        if time.monotonic() >= self._kill_at and self.child is not None:
            self.log.note("the grace period is over: killing the training")
            self._signal_group(signal.SIGKILL)
            self._kill_at = float("inf")

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        child = self.child.pid if self.child else None
        with contextlib.suppress(OSError):  # a full disk costs a heartbeat, not the run
            replace_json(self.folder / "heartbeat.json", {"time": time.time(), "pid": os.getpid(), "child_pid": child})

    def _catch_signals(self) -> None:
        """Note stop signals and wake the loop; follow the terminal's size."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_kill)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _on_kill(self, _number: int, _frame: object) -> None:
        """`train.stop --now`: no grace period."""
        self.stop_signal = signal.SIGKILL
        self._signal_group(signal.SIGKILL)

    def _on_stop(self, number: int, _frame: object) -> None:
        """Ask the training to write a checkpoint and end; a second request does not shorten the grace period."""
        if self.stop_signal is None:
            self.stop_signal = number
            grace_s = float(self.record.get("grace_s", 60.0))
            self._kill_at = time.monotonic() + grace_s
            # A training answers TERM; HUP would end most programs without a checkpoint.
            self._signal_group(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def _signal_group(self, number: int) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child.pid, number)

    def _end_leftovers(self) -> None:
        """End what the training started and left behind, so that it does not hold the locks."""
        self._signal_group(signal.SIGTERM)
        for _ in range(20):
            if not _group_exists(self.child.pid if self.child else 0):
                return
            time.sleep(0.05)
        self._signal_group(signal.SIGKILL)

    def _sleep(self, seconds: float) -> None:
        """Sleep, but wake at a signal."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 512)

    def _verdict(self, code: int) -> tuple[str, int, str]:
        """State, exit code and message for the training's end."""
        # A recipe that was stopped says so by its exit code; of another command's 0 we cannot be sure.
        if code == 0 and (self.stop_signal is None or self.record.get("recipe")):
            return "finished", 0, ""
        if self.stop_signal is not None:
            exit_code = code if code >= 0 else 128 - code
            if code == -signal.SIGKILL:
                return "stopped", exit_code, "killed before it could write a checkpoint"
            return "stopped", exit_code, f"stopped by {signal.Signals(self.stop_signal).name}"
        if code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            return "stopped", code, "the training was signalled from outside and stopped at a checkpoint"
        if code < 0:
            return "failed", 128 - code, f"killed by {signal.Signals(-code).name}"
        return "failed", code, f"the training ended with exit code {code}; the log's last lines say why"

    def _finish(self, state: str, exit_code: int, message: str) -> None:
        """The run's last words, in the log and in `run.json`; insists for half a minute on a full disk."""
        lost = f" ({self.log.lost_lines} log lines lost to a full disk)" if self.log.lost_lines else ""
        self.log.note(f"{state}{f': {message}' if message else ''}{lost}")
        self.log.close()
        errors = self.folder / "runner.err"
        if errors.is_file() and not errors.stat().st_size:
            errors.unlink()
        ended = {
            "state": state,
            "exit_code": exit_code,
            "message": message,
            "finished": utc_now(),
            "pid": None,
        }
        ended["signal"] = exit_code - 128 if exit_code > 128 else None
        for _ in range(15):
            try:
                self._record(**ended)
            except OSError:
                time.sleep(2)
            else:
                return
        print(f"could not write {self.folder}/run.json: {json.dumps(ended)}", file=sys.stderr)

    def _record(self, **changes: Any) -> None:
        self.record.update(changes)
        replace_json(self.folder / "run.json", self.record)

    @staticmethod
    def _copy_window_size(slave: int) -> None:
        """Give the training's terminal the size of ours, or 120 columns when ours has none."""
        size = struct.pack("HHHH", 40, 120, 0, 0)
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, size)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _die_with_parent() -> None:
    """In the child: ask the kernel (Linux) for SIGTERM when the runner dies; take signals afresh."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def main() -> None:
    """Run the folder named on the command line; an own failure goes to stderr, which the session keeps."""
    sys.exit(Runner(*map(Path, sys.argv[1:3])).run())


if __name__ == "__main__":
    main()
