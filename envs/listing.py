"""Runs as tables and JSON for `train.list` and `train.show`."""

from pathlib import Path
from typing import Any

from envs.errors import RunError
from envs.follow import metrics_text, progress_text
from envs.runs import Run, all_runs

__all__ = ["details", "print_details", "print_runs", "summaries"]

_COLOURS = {"running": "green", "queued": "yellow", "failed": "red", "lost": "red", "stopped": "yellow"}


def summaries(runs_dir: Path) -> list[dict[str, Any]]:
    """One flat record a run, oldest first."""
    rows = []
    for run in all_runs(runs_dir):
        try:
            record, state = run.record(), run.state()
        except RunError:  # removed or broken while we looked
            continue
        progress = run.progress()
        rows.append(
            {
                "id": run.id,
                "state": state,
                "recipe": record.get("recipe"),
                "step": progress.get("step"),
                "total_steps": progress.get("total_steps"),
                "eta_s": progress.get("eta_s") if state == "running" else None,
                "metrics": progress.get("metrics") or {},
                "host": record.get("host"),
                "gpu": (record.get("gpu") or {}).get("devices", []),
                "created": record.get("created"),
                "finished": record.get("finished"),
                "exit_code": record.get("exit_code"),
                "message": record.get("message", ""),
            }
        )
    return rows


def print_runs(rows: list[dict[str, Any]]) -> None:
    """The runs as a table; a hint when there are none."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        print("no runs yet\n  next: `./inv demo`, or `./inv train.start tagger`")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "recipe", "progress", "ETA", "newest numbers", "created"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("state", "progress", "ETA"))
    for row in rows:
        colour = _COLOURS.get(row["state"], "default")
        step, total, eta = row["step"], row["total_steps"], row["eta_s"]
        table.add_row(
            escape(row["id"]),
            f"[{colour}]{row['state']}[/]",
            escape(row["recipe"] or "command"),
            f"{step}/{total}" if total else "",
            "" if eta is None else f"{int(eta) // 60}:{int(eta) % 60:02d}",
            escape(metrics_text(row)),
            str(row["created"] or ""),
        )
    Console().print(table)


def details(run: Run) -> dict[str, Any]:
    """Everything known about one run: its record, progress, checkpoints and the files it left."""
    record = run.record()
    return {
        **record,
        "state": run.state(),
        "folder": str(run.folder),
        "progress": run.progress(),
        "checkpoints": sorted(path.name for path in run.folder.glob("checkpoints/*.safetensors")),
        "files": sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")),
        "log_tail": run.log_tail(5),
    }


def print_details(found: dict[str, Any]) -> None:
    """The details as aligned lines for a person."""
    git, environment = found.get("git") or {}, found.get("environment") or {}
    commit = str(git.get("commit") or git.get("note") or "unknown")[:12] + (" (dirty)" if git.get("dirty") else "")
    lines = {
        "run": found["id"],
        "state": found["state"] + (f": {found['message']}" if found.get("message") else ""),
        "folder": found["folder"],
        "recipe": found.get("recipe") or "command",
        "command": " ".join(found.get("command", [])),
        "progress": progress_text(found["progress"]) if found["progress"] else "",
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
