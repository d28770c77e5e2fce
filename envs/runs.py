"""Run folders read from outside: their names, states and listings. See docs/run-folder.md for the files."""

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import RunError
from seqlab.errors import ConfigError
from seqlab.files import read_json

__all__ = ["ENDED", "RESUMABLE", "Run", "all_runs", "check_run_id", "find_run", "new_run_id"]

ENDED = ("finished", "failed", "stopped", "lost")
RESUMABLE = ("stopped", "failed", "lost")

# A heartbeat comes every 2 s; ten missed ones from another host count as death.
STALE_S = 20.0
# How long a queued run may go without a runner before it counts as lost.
START_S = 30.0

# Letters of any script, digits, dash and underscore: what tmux, a path and a URL all take as it stands.
_RUN_ID = re.compile(r"[^\W_][\w-]{0,63}")


def check_run_id(run_id: str) -> str:
    """Return `run_id` if it can name a folder, a tmux session and a post; refuse it otherwise.

    Raises:
        ConfigError: it is empty, too long, or has quotes, blanks, slashes, dots or control characters.
    """
    if not _RUN_ID.fullmatch(run_id) or len(run_id.encode()) > 200:
        shown = repr(run_id[:80]) + ("…" if len(run_id) > 80 else "")
        raise ConfigError(
            f"{shown} cannot name a run: letters (of any script), digits, '-' and '_', at most 64, "
            "the first a letter or digit"
        )
    return run_id


def new_run_id(runs_dir: Path, stem: str) -> str:
    """A free name such as `tagger-20261123-0431`, with a number behind when it is taken."""
    base = f"{stem}-{time.strftime('%Y%m%d-%H%M')}"
    names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
    return next(name for name in names if not (runs_dir / name).exists())


@dataclass(frozen=True)
class Run:
    """One run folder; everything is read afresh from disk at each call."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def record(self) -> dict[str, Any]:
        """The contents of `run.json`.

        Raises:
            RunError: the file is missing or is not a JSON object.
        """
        record = read_json(self.folder / "run.json")
        if record is None or not _has_shape(record):
            raise RunError(
                f"{self.folder}/run.json is missing or broken, so this is not a run the kit can read\n"
                f"  next: look at {self.folder}/log.txt, then move the folder away"
            )
        return record

    def progress(self) -> dict[str, Any]:
        """The contents of `progress.json`; empty before the training has written one."""
        return read_json(self.folder / "progress.json") or {}

    def is_alive(self) -> bool:
        """Whether a runner on this machine (or a training it left behind) holds the run's lock."""
        try:
            descriptor = os.open(self.folder / "runner.lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
        finally:
            os.close(descriptor)
        return False

    def state(self) -> str:
        """The state in `run.json`, or `lost` when it says queued or running and nobody is there."""
        record = self.record()
        state = str(record.get("state", "unknown"))
        if state not in ("queued", "running") or self.is_alive():
            return state
        # The runner may have ended between the two looks: its last word counts.
        state = str(self.record().get("state", "unknown"))
        if state not in ("queued", "running"):
            return state
        if state == "queued":
            return "lost" if _age_s(self.folder / "run.json") > START_S else "queued"
        if record.get("host") == socket.gethostname():
            return "lost"
        return "lost" if _age_s(self.folder / "heartbeat.json") > STALE_S else "running"

    def log_tail(self, lines: int) -> list[str]:
        """The last `lines` lines of `log.txt`, read from its end: at most 256 KiB."""
        try:
            with (self.folder / "log.txt").open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - (256 << 10)))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        return text.splitlines()[-lines:] if lines else []


def _has_shape(record: dict[str, Any]) -> bool:
    """Whether a record has what every reader relies on, each of its kind."""
    kinds: dict[str, type | tuple[type, ...]] = {"id": str, "state": str, "command": list, "attempts": list}
    kinds |= {"git": dict, "gpu": dict, "environment": dict}
    return all(isinstance(record.get(name), kind) for name, kind in kinds.items())


def _age_s(path: Path) -> float:
    """Seconds since `path` last changed; infinite when it does not exist."""
    try:
        return abs(time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")


def all_runs(runs_dir: Path) -> Iterator[Run]:
    """Every run in `runs_dir`, also one whose record is broken; oldest first by the time in the record."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(runs_dir) if _RUN_ID.fullmatch(entry.name)]
    except FileNotFoundError:
        return
    records = {folder: read_json(folder / "run.json") for folder in folders if (folder / "run.json").exists()}
    for folder in sorted(records, key=lambda folder: (str((records[folder] or {}).get("created", "")), folder.name)):
        yield Run(folder)


def find_run(runs_dir: Path, name: str) -> Run:
    """The run called `name`, or the only one whose name begins so.

    Raises:
        RunError: there is none, or more than one begins so (the candidates are named).
    """
    check_run_id(name)
    if (runs_dir / name / "run.json").is_file():
        return Run(runs_dir / name)
    known = [run.id for run in all_runs(runs_dir)]
    matches = [run_id for run_id in known if run_id.startswith(name)]
    if len(matches) == 1:
        return Run(runs_dir / matches[0])
    if matches:
        raise RunError(f"{name!r} could be any of: {', '.join(matches)}\n  next: give more of the name")
    raise RunError(f"there is no run {name!r} in {runs_dir}\n  next: `./inv train.list` shows the runs there are")
