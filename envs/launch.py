"""Starting, resuming and stopping runs: makes the run folder, opens the session, signals the runner."""

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.errors import NameTaken, RunError
from envs.gpus import Unavailable, check_possible, list_gpus, parse_request
from envs.provenance import environment, git_state, host_and_user
from envs.runner import utc_now
from envs.runs import RESUMABLE, Run, check_run_id, new_run_id
from envs.tmux import end_session, start_session
from seqlab.files import read_json, replace_json, replace_text

__all__ = [
    "Order",
    "check_gpus",
    "recipe_order",
    "remove",
    "resume",
    "start",
    "start_afresh",
    "start_unnamed",
    "stop",
]

# The runner takes some 60 ms to start; a machine under load may need much longer.
RUNNER_START_S = 15.0


@dataclass(frozen=True)
class Order:
    """What to run: a recipe with its resolved configuration, or any command."""

    command: Sequence[str]
    recipe: str | None = None
    config: dict[str, Any] | None = None
    seed: int | None = None
    gpu: str = "auto"
    grace_s: float = 60.0
    cwd: Path | None = None


def recipe_order(folder: Path, recipe: str, config: dict[str, Any], gpu: str, grace_s: float) -> Order:
    """The order that trains `recipe` into `folder` with this environment's Python."""
    # The configuration travels in a file, so no value of it ever meets a shell or a process list.
    command = [sys.executable, "-m", "seqlab.train", recipe, "--out", str(folder)]
    command += ["--config", str(folder / "order.json")]
    seed = config.get("seed")
    return Order(command, recipe, config, seed if isinstance(seed, int) else None, gpu, grace_s)


def start(root: Path, folder: Path, order: Order) -> Run:
    """Make the run folder `folder` and start `order` in a detached session named like it.

    Args:
        root: the checkout; decides the tmux socket and is where git is asked.
        folder: the new run's folder; its name becomes the run's id.
        order: what to run.

    Raises:
        NameTaken: there is such a folder.
        ConfigError: the name is unusable or the GPU request malformed.
        RunError: the GPUs wanted do not exist, or the session does not start.
        MissingTool: no tmux.
        OSError: the folder cannot be written.
    """
    run_id = check_run_id(folder.name)
    check_gpus(order.gpu)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name and renamed when complete: a start cut short leaves nothing that looks like a run.
    fresh = Path(tempfile.mkdtemp(prefix=f".{run_id}.", suffix=".new", dir=folder.parent))
    try:
        fresh.chmod(0o777 & ~_umask())
        _write_order(root, fresh, run_id, order)
        fresh.rename(folder)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise NameTaken(_what_is_there(folder)) from None
    try:
        _open_session(root, Run(folder))
    except BaseException:
        # Nothing has run yet: leave no half-made run behind.
        end_session(root, run_id)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Run(folder)


def start_unnamed(root: Path, runs_dir: Path, stem: str, make_order: Callable[[Path], Order]) -> Run:
    """Start a run under a free name made from `stem` and the time; others may be taking names at the same moment."""
    for _ in range(100):
        folder = runs_dir / new_run_id(runs_dir, stem)
        with contextlib.suppress(NameTaken):
            return start(root, folder, make_order(folder))
    raise RunError(f"no free name for a run in {runs_dir}\n  next: give one with --name")


def start_afresh(root: Path, run: Run, order: Order) -> None:
    """Replace a run by a new one of the same name; the old one is deleted only when the new one has started.

    Raises:
        As `stop` and `start`; the old run is then back in its place.
    """
    check_gpus(order.gpu)
    if run.state() in ("queued", "running"):
        stop(run, now=True)
    _await_release(run)
    aside = run.folder.with_name(f".{run.id}.before")
    shutil.rmtree(aside, ignore_errors=True)
    run.folder.rename(aside)
    try:
        start(root, run.folder, order)
    except BaseException:
        aside.rename(run.folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def check_gpus(requested: str) -> None:
    """Refuse a `--gpu` that is malformed or that this machine can never satisfy.

    Raises:
        ConfigError, RunError: see `envs.gpus`.
    """
    request = parse_request(requested)
    if (request.count or request.indices) and not request.optional:
        gpus = list_gpus()
        check_possible(request, [] if isinstance(gpus, Unavailable) else gpus)


def _what_is_there(folder: Path) -> str:
    if (folder / "run.json").exists():
        return (
            f"there is already a run {folder.name!r}\n"
            f"  next: `./inv train.resume {folder.name}` continues it, `./inv train.rm {folder.name}` removes it, "
            "or choose another --name"
        )
    return f"{folder} exists and is no run\n  next: move it away, or choose another --name"


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _write_order(root: Path, folder: Path, run_id: str, order: Order) -> None:
    """Write `run.json` in state queued, and the diff of a dirty checkout."""
    git, diff = git_state(root)
    if diff:
        replace_text(folder / "source.diff", diff)
    if order.config is not None:
        replace_json(folder / "order.json", order.config)
    record = {
        "schema": 1,
        "id": run_id,
        "recipe": order.recipe,
        "command": [str(word) for word in order.command],
        "cwd": str(order.cwd or root),
        "config": order.config or {},
        "seed": order.seed,
        "state": "queued",
        "exit_code": None,
        "signal": None,
        "message": "",
        "created": utc_now(),
        "started": None,
        "finished": None,
        **host_and_user(),
        "git": git,
        "gpu": {"requested": order.gpu, "devices": []},
        "environment": environment(root),
        "grace_s": order.grace_s,
        "attempts": [],
    }
    replace_json(folder / "run.json", record)


def _open_session(root: Path, run: Run) -> None:
    """Start the runner in its session and see that it has taken over."""
    attempts = len(run.record()["attempts"])
    errors = run.folder / "runner.err"
    # Beside the run, not in it: the caller's environment may hold secrets, and run folders are copied and archived.
    descriptor, handed = tempfile.mkstemp(prefix="seqlab-env-")
    os.close(descriptor)
    try:
        replace_json(Path(handed), dict(os.environ), mode=0o600)
        runner = [sys.executable, str(Path(__file__).with_name("runner.py")), str(run.folder), handed]
        start_session(root, run.id, runner, errors)
        _await_runner(run, attempts, errors)
    finally:
        # The runner has read and removed it; one that never came must not leave it.
        Path(handed).unlink(missing_ok=True)


def _await_runner(run: Run, attempts: int, errors: Path) -> None:
    """Wait until the runner holds the lock or has already ended."""
    deadline = time.monotonic() + RUNNER_START_S
    while time.monotonic() < deadline:
        record = run.record()
        if len(record["attempts"]) > attempts or record["state"] != "queued":
            return
        if errors.exists() and errors.stat().st_size:
            break
        time.sleep(0.01)
    said = errors.read_text(encoding="utf-8", errors="replace").strip() if errors.exists() else ""
    raise RunError(f"the runner did not start: {said or 'it said nothing'}\n  next: `./inv doctor`")


def resume(root: Path, run: Run) -> None:
    """Continue a stopped, failed or lost run from its newest checkpoint, in a new session.

    Raises:
        RunError: the run is running, queued or finished, or the session does not start.
    """
    state = run.state()
    if state not in RESUMABLE:
        follow = f"`./inv train.logs {run.id} --follow` follows it"
        hint = f"`./inv train.show {run.id}` shows it" if state == "finished" else follow
        raise RunError(f"{run.id} is {state}; only a stopped, failed or lost run can be resumed\n  next: {hint}")
    if not _await_release(run):
        raise RunError(f"a process of {run.id} is still ending\n  next: `./inv train.stop {run.id} --now`, then again")
    before = run.record()
    replace_json(run.folder / "run.json", {**before, "state": "queued", "message": "", "exit_code": None})
    try:
        _open_session(root, run)
    except BaseException:
        with contextlib.suppress(OSError):
            if not run.is_alive():
                replace_json(run.folder / "run.json", before)
        raise


def stop(run: Run, now: bool = False, wait_s: float | None = None) -> str:
    """Ask a run to write a checkpoint and end, wait for it, and return its state.

    Args:
        run: the run.
        now: kill at once instead; what came after the last checkpoint is lost.
        wait_s: how long to wait; None waits its grace period and a little more.

    Raises:
        RunError: it is not running, or does not end in time.
    """
    state = run.state()
    if state not in ("queued", "running"):
        raise RunError(f"{run.id} is {state}, so there is nothing to stop\n  next: `./inv train.show {run.id}`")
    wait_s = float(run.record().get("grace_s", 60.0)) + 10.0 if wait_s is None else wait_s
    signalled = False
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        signalled = signalled or _signal_run(run, now)
        if not run.is_alive() and run.state() not in ("queued", "running"):
            return run.state()
        time.sleep(0.05)
    raise RunError(f"{run.id} has not ended within {wait_s:.0f} s\n  next: `./inv train.stop {run.id} --now` kills it")


def _signal_run(run: Run, now: bool) -> bool:
    """Signal the run's processes; only while its lock is held, and only if the ids are still theirs.

    Returns whether there was someone to signal; a runner that is just starting has not said its id yet.
    """
    beat = read_json(run.folder / "heartbeat.json")
    if beat is None or not run.is_alive():
        return False
    runner, child = int(beat["pid"]), beat.get("child_pid")
    with contextlib.suppress(ProcessLookupError):
        if _is_runner(runner, run.folder):
            os.kill(runner, signal.SIGUSR1 if now else signal.SIGTERM)
            return True
        if child:  # the runner was killed; its training is still there
            os.killpg(int(child), signal.SIGKILL if now else signal.SIGTERM)
            return True
    return False


def _is_runner(pid: int, folder: Path) -> bool:
    """Whether process `pid` is this folder's runner, as far as the system tells (Linux does)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return not Path("/proc").is_dir()
    return str(folder).encode() in words


def _await_release(run: Run) -> bool:
    """Give the runner of an ended run the moment it needs to go; whether nobody holds the run any more."""
    deadline = time.monotonic() + 3.0
    while run.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def remove(run: Run) -> None:
    """Delete the folder of a run that is not running; of a linked folder only the link.

    Raises:
        RunError: it is queued or running.
        OSError: something in it cannot be deleted; what is left keeps its name.
    """
    if run.state() in ("queued", "running") or not _await_release(run):
        raise RunError(f"{run.id} is still going\n  next: `./inv train.stop {run.id}` first")
    if run.folder.is_symlink():
        run.folder.unlink()
        return
    # Renamed first: a deletion cut short leaves nothing that looks like a run.
    doomed = run.folder.with_name(f".{run.id}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    run.folder.rename(doomed)
    try:
        shutil.rmtree(doomed)
    except OSError:
        doomed.rename(run.folder)
        raise
