"""Watching a run: a live progress bar with ETA, loss and score, or plain lines where there is no terminal.

Only reads the run's folder. Ending the follower, by Ctrl-C or by killing its terminal, leaves the run alone.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

from envs.runs import Run
from seqlab.files import read_json

__all__ = [
    "REFUSED",
    "clock",
    "follow",
    "follow_log",
    "how_to_come_back",
    "metrics_text",
    "next_step",
    "progress_text",
    "report_end",
    "results_text",
]

POLL_S = 0.25
PLAIN_EVERY_S = 15.0
LOST = 4
# The training's exit code for settings, data or checkpoints it cannot use: see docs/run-folder.md.
REFUSED = 2


def report_end(run: Run) -> int:
    """Say how a run ended and what to do next; returns the exit code that stands for it.

    0 finished; 4 lost; otherwise the training's own.
    """
    state, record = run.state(), run.record()
    message = record.get("message") or ""
    print(f"{run.id} {state}" + (f": {message}" if message and state != "lost" else ""))
    if state == "finished":
        return 0
    if state == "lost":
        print(f"  its processes are gone\n  next: {_resume_words(run, record)}")
        return LOST
    code = int(record.get("exit_code") or 1)
    if state == "failed":
        print("\n".join(f"  | {line}" for line in run.log_tail(4) if not line.startswith("[runner]")))
    print(f"  next: {next_step(run)}")
    return code


def next_step(run: Run) -> str:
    """What to do about a run that ended without finishing."""
    record = run.record()
    if record.get("exit_code") == REFUSED:
        return f"mend what the log complains of, then start anew; resuming cannot help (`./inv train.logs {run.id}`)"
    return _resume_words(run, record)


def _resume_words(run: Run, record: dict[str, Any]) -> str:
    does = "continues from its last checkpoint" if record.get("recipe") else "starts the command again"
    return f"`./inv train.resume {run.id}` {does}"


def how_to_come_back(run_id: str) -> str:
    """What to type after leaving a run that goes on."""
    return (
        f"The training goes on without this terminal. Come back with\n"
        f"  ./inv train.logs {run_id} --follow   the log as it grows\n"
        f"  ./inv train.attach {run_id}          the session itself (leave it with Ctrl-b d)\n"
        f"  ./inv train.stop {run_id}            write a checkpoint and stop"
    )


def clock(seconds: float | None) -> str:
    """Seconds as `1:05` or `2:03:04`; a dash for None."""
    if seconds is None:
        return "–"
    minutes, left = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{left:02d}" if minutes >= 60 else f"{minutes}:{left:02d}"


def metrics_text(progress: dict[str, Any]) -> str:
    """The newest loss and score as `loss 3.21 · valid/f1 0.712`; a test score once there is one."""
    metrics = progress.get("metrics") or {}
    shown = [("loss", "train/loss")] if "train/loss" in metrics else []
    scores = [name for part in ("test/", "valid/") for name in metrics if name.startswith(part)]
    # F1 says most where there is one; otherwise the first score the recipe reports.
    best = next((name for name in scores if name.endswith("/f1")), scores[0] if scores else None)
    shown += [(best, best)] if best else []
    return " · ".join(f"{label} {metrics[name]:.4g}" for label, name in shown)


def progress_text(progress: dict[str, Any]) -> str:
    """One plain line on where a run is."""
    step, total = progress.get("step", 0), progress.get("total_steps", 0)
    words = [f"{progress.get('phase', 'starting'):<8}"]
    if total:
        words += [f"{100 * step / total:3.0f} %", f"step {step}/{total}"]
    if progress.get("eta_s"):
        words.append(f"ETA {clock(progress['eta_s'])}")
    return "  ".join([*words, metrics_text(progress)]).rstrip()


def follow(run: Run) -> str:
    """Show the run's progress until it ends; returns its state.

    Raises:
        KeyboardInterrupt: Ctrl-C; the run goes on.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        return _follow_live(run)
    return _follow_plain(run)


def _states(run: Run) -> Iterator[str]:
    """The run's state, again and again, until it has ended."""
    while True:
        state = run.state()
        yield state
        if state not in ("queued", "running"):
            return
        time.sleep(POLL_S)


def _follow_plain(run: Run) -> str:
    """A line at each change of phase and every quarter of a minute."""
    said_at, said_phase = 0.0, None
    for _ in _states(run):
        progress = run.progress()
        phase = progress.get("phase")
        if phase and (phase != said_phase or time.monotonic() - said_at > PLAIN_EVERY_S):
            print(progress_text(progress), flush=True)
            said_at, said_phase = time.monotonic(), phase
    return run.state()


def _follow_live(run: Run) -> str:
    """A bar that redraws itself."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[phase]:<9}"),
        BarColumn(bar_width=32),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[elapsed]}"),
        TextColumn("ETA {task.fields[eta]}"),
        TextColumn("[cyan]{task.fields[metrics]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=None, phase="waiting", elapsed="", eta="–", metrics="")
        for state in _states(run):
            progress = run.progress()
            bar.update(
                task,
                total=progress.get("total_steps") or None,
                completed=progress.get("step", 0),
                phase=progress.get("phase", "waiting" if state == "queued" else "starting"),
                elapsed=clock(progress.get("elapsed_s")),
                eta=clock(progress.get("eta_s")),
                metrics=metrics_text(progress),
            )
    return run.state()


def follow_log(run: Run, lines: int) -> str:
    """Print the last `lines` of the log, then whatever is added until the run ends; returns its state."""
    log = run.folder / "log.txt"
    for line in run.log_tail(lines):
        print(line)
    position = log.stat().st_size if log.exists() else 0
    for _ in _states(run):
        position = _print_from(log, position)
    _print_from(log, position)
    return run.state()


def _print_from(log: Any, position: int) -> int:
    """Print what the log has beyond `position` in whole lines; returns the new position."""
    try:
        with log.open("rb") as file:
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return position
    whole = data[: data.rfind(b"\n") + 1]
    if whole:
        print(whole.decode("utf-8", errors="replace"), end="", flush=True)
    return position + len(whole)


def results_text(run: Run) -> str:
    """The table of `report.json` as aligned lines: models down, scores across."""
    results = (read_json(run.folder / "report.json") or {}).get("results") or {}
    columns, rows = results.get("columns", []), results.get("rows", [])
    width = max((len(row["model"]) for row in rows), default=5)
    lines = [f"{results.get('part', ''):<{width}}  " + "  ".join(f"{column:>9}" for column in columns)]
    for row in rows:
        lines.append(f"{row['model']:<{width}}  " + "  ".join(f"{value:>9.4f}" for value in row["values"]))
    return "\n".join(lines)
