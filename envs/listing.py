"""Runs as tables and JSON for `train.list` and `train.show`."""

import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from envs.errors import RunError
from envs.follow import clock, metrics_text, progress_text
from envs.runs import Run, all_runs

__all__ = ["details", "print_details", "print_runs", "summaries"]

_COLOURS = {
    "broken": "red",
    "running": "green",
    "queued": "yellow",
    "failed": "red",
    "lost": "red",
    "stopped": "yellow",
}


def summaries(runs_dir: Path) -> list[dict[str, Any]]:
    """One flat record a run, oldest first; a run whose record cannot be read has the state `broken`."""
    return [_summary(run) for run in all_runs(runs_dir) if run.folder.exists()]


def _summary(run: Run) -> dict[str, Any]:
    try:
        record, state, message = run.record(), run.state(), None
    except RunError as error:
        record, state, message = {}, "broken", str(error)
    progress = run.progress()
    return {
        "id": run.id,
        "state": state,
        "recipe": record.get("recipe"),
        "step": progress.get("step"),
        "total_steps": progress.get("total_steps"),
        "eta_s": progress.get("eta_s") if state == "running" else None,
        "metrics": progress.get("metrics") or {},
        "host": record.get("host"),
        "gpu": record.get("gpu", {}).get("devices", []),
        "created": record.get("created"),
        "finished": record.get("finished"),
        "exit_code": record.get("exit_code"),
        "message": message or record.get("message", ""),
    }


def print_runs(rows: list[dict[str, Any]]) -> None:
    """The runs as a table, one line each; a hint when there are none."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        print("no runs yet\n  next: `./inv demo`, or `./inv train.start tagger`")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, overflow="ignore")
    for heading in ("state", "recipe", "progress", "ETA", "created"):
        table.add_column(heading, no_wrap=True)
    table.add_column("newest numbers", no_wrap=True, overflow="ellipsis")
    for row in rows:
        colour = _COLOURS.get(row["state"], "default")
        step, total = row["step"], row["total_steps"]
        table.add_row(
            escape(row["id"]),
            f"[{colour}]{row['state']}[/]",
            escape(row["recipe"] or ("" if row["state"] == "broken" else "command")),
            f"{step}/{total}" if total else "",
            "" if row["eta_s"] is None else clock(row["eta_s"]),
            _local_time(row["created"]),
            escape(metrics_text(row)),
        )
    # For a program (`| grep`) every run is one whole line, however long.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def _local_time(created: str | None) -> str:
    """`2026-11-23T06:01:34Z` as `11-23 14:01`, in the reader's time zone."""
    try:
        return datetime.fromisoformat(str(created)).astimezone().strftime("%m-%d %H:%M")
    except ValueError:
        return ""


def details(run: Run) -> dict[str, Any]:
    """Everything known about one run: its record, progress, checkpoints and the files it left."""
    record, state = run.record(), run.state()
    return {
        **record,
        "state": state,
        "folder": str(run.folder),
        "progress": {**run.progress(), **({} if state == "running" else {"eta_s": None})},
        "checkpoints": sorted(path.name for path in run.folder.glob("checkpoints/*.safetensors")),
        "files": sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")),
        "log_tail": run.log_tail(5),
    }


def print_details(found: dict[str, Any]) -> None:
    """The details as aligned lines for a person."""
    git, environment = found.get("git") or {}, found.get("environment") or {}
    commit = str(git["commit"])[:12] if git.get("commit") else str(git.get("note") or "unknown")
    commit += " (dirty)" if git.get("dirty") else ""
    lines = {
        "run": found["id"],
        "state": found["state"] + (f": {found['message']}" if found.get("message") else ""),
        "folder": found["folder"],
        "recipe": found.get("recipe") or "command",
        "command": shlex.join(map(str, found["command"])),
        "progress": progress_text(found["progress"]) if found["progress"].get("phase") else "",
        "created": found.get("created"),
        "started": found.get("started"),
        "finished": found.get("finished"),
        "attempts": len(found.get("attempts", [])),
        "seed": found.get("seed"),
        "commit": commit,
        "host": f"{found.get('user')}@{found.get('host')}",
        "GPUs": ", ".join((found.get("gpu") or {}).get("devices", [])) or "none",
        "environment": ", ".join(f"{name} {environment.get(name)}" for name in ("python", "torch", "platform")),
        "checkpoints": ", ".join(found["checkpoints"]),
    }
    for name, value in lines.items():
        if value not in (None, ""):
            print(f"{name:<12} {value}")
    if found["log_tail"]:
        print("log          " + "\n             ".join(found["log_tail"]))
