"""`train.*`: start, watch, stop and resume training runs."""

import shlex
from pathlib import Path
from typing import Any

from invoke import Context, Exit, task

from envs.errors import KitError, RunError
from envs.settings import ROOT, number, print_json, runs_dir, text

__all__ = ["attach", "logs", "ls", "resume", "rm", "show", "start", "stop", "wait"]

RUN_HELP = "the run's name, or the beginning of it"
WHICH_RUN = "`./inv train.list` shows the runs there are"
LOST = 4


@task(
    positional=["recipe"],
    iterable=["set"],
    help={
        "recipe": "what to train: tagger (`./inv train.recipes` lists them)",
        "data": "a data file; without it the recipe's own default",
        "set": "change a setting, e.g. --set encoder.hidden=256; may be repeated",
        "seed": "the seed of everything random (a whole number)",
        "name": "the run's name; made from recipe and time when left out",
        "gpu": "none, auto (one if there is any), 2 (any two) or 0,3 (these)",
        "grace": "seconds a stopped training may take to write its checkpoint",
        "cmd": "run this command instead of a recipe, e.g. --cmd 'python train.py --epochs 3'",
        "follow": "show the progress until the run ends; Ctrl-C leaves the run alone",
        "json": "print one JSON document",
    },
)
def start(
    c: Context,
    recipe: str,
    data: str = "",
    set: list[str] | None = None,
    seed: str = "",
    name: str = "",
    gpu: str = "",
    grace: str = "",
    cmd: str = "",
    follow: bool = False,
    json: bool = False,
) -> None:
    """Start a training in a detached tmux session that outlives this terminal.

    Examples:
        ./inv train.start tagger --set encoder.hidden=256 --follow
        ./inv train.start --cmd 'python train.py --epochs 3' --name baseline
    """
    from envs.launch import Order, recipe_order
    from envs.launch import start as launch
    from envs.runs import check_run_id, new_run_id

    gpu, grace_s = gpu or str(c.config.train.gpu), number("--grace", grace or c.config.train.grace_s)
    runs = runs_dir(c)
    run_id = check_run_id(name) if name else new_run_id(runs, recipe if not cmd else "run")
    if cmd:
        if recipe or set or data or seed:
            raise KitError("--cmd runs a command of your own: it takes no recipe, --data, --set or --seed")
        order = Order(_words(cmd), gpu=gpu, grace_s=grace_s, cwd=Path.cwd())
    else:
        config = _resolve(recipe, set or [], data, seed)
        order = recipe_order(runs / run_id, recipe, config, gpu, grace_s)
    if c.config.run.dry:
        print(f"would make {runs / run_id} and run there, in a detached tmux session:\n  {shlex.join(order.command)}")
        return
    run = launch(ROOT, runs / run_id, order)
    if json:
        print_json({"id": run.id, "folder": str(run.folder), "state": run.state()})
        return
    print(f"started {run.id} in {run.folder}")
    if follow:
        raise Exit(code=_follow(run))
    print(f"follow it: ./inv train.logs {run.id} --follow")


def _resolve(recipe: str, overrides: list[str], data: str, seed: str) -> dict[str, Any]:
    """The recipe's configuration with everything checked before anything is started."""
    from seqlab import recipes

    text(
        "a recipe",
        recipe,
        f"./inv train.start {recipes.names()[0]}   (there are: {', '.join(recipes.names())})",
    )
    if (seed and not seed.isascii()) or (seed and not seed.isdigit()):
        raise KitError(f"--seed takes a whole number from 0, not {seed!r}")
    path = str(Path(data).expanduser().resolve()) if data else None
    return recipes.resolve(recipe, overrides, data=path, seed=int(seed) if seed else None)


def _words(command: str) -> list[str]:
    """A command line as words; no shell ever sees it."""
    try:
        return [
            text("--cmd", word, "--cmd 'python train.py'") if i == 0 else word
            for i, word in enumerate(shlex.split(command))
        ]
    except ValueError as error:
        raise KitError(f"--cmd cannot be read as words ({error}): {command!r}") from None


def _follow(run: Any) -> int:
    """Follow a run; returns the exit code it stands for, or says how to come back after Ctrl-C."""
    from envs.follow import follow, how_to_come_back

    try:
        follow(run)
    except KeyboardInterrupt:
        raise Exit(f"\n{how_to_come_back(run.id)}", code=130) from None
    return _report_end(run)


def _report_end(run: Any) -> int:
    """Say how a run ended; returns the exit code that stands for it."""
    state, record = run.state(), run.record()
    print(f"{run.id} {state}" + (f": {record['message']}" if record.get("message") else ""))
    if state == "lost":
        print(f"  next: `./inv train.resume {run.id}` continues from its last checkpoint")
        return LOST
    if state in ("failed", "stopped"):
        print(f"  next: `./inv train.logs {run.id}`, then `./inv train.resume {run.id}`")
    return int(record.get("exit_code") or 0)


def _find(c: Context, name: str, command: str) -> Any:
    from envs.runs import find_run

    return find_run(runs_dir(c), text("a run", name, f"./inv {command} RUN; {WHICH_RUN}"))


@task(name="list", help={"json": "print one JSON document"})
def ls(c: Context, json: bool = False) -> None:
    """List the runs: state, progress, newest numbers."""
    from envs.listing import print_runs, summaries

    rows = summaries(runs_dir(c))
    print_json(rows) if json else print_runs(rows)


@task(positional=["run"], help={"run": RUN_HELP, "json": "print one JSON document"})
def show(c: Context, run: str, json: bool = False) -> None:
    """Show everything about one run."""
    from envs.listing import details, print_details

    found = details(_find(c, run, "train.show"))
    print_json(found) if json else print_details(found)


@task(
    positional=["run"],
    help={"run": RUN_HELP, "follow": "go on as the log grows", "lines": "how many lines back"},
)
def logs(c: Context, run: str, follow: bool = False, lines: int = 40) -> None:
    """Print the end of a run's log."""
    found = _find(c, run, "train.logs")
    if not follow:
        print("\n".join(found.log_tail(int(number("--lines", lines)))))
        return
    from envs.follow import follow_log, how_to_come_back

    try:
        follow_log(found, int(number("--lines", lines)))
    except KeyboardInterrupt:
        raise Exit(f"\n{how_to_come_back(found.id)}", code=130) from None


@task(positional=["run"], help={"run": RUN_HELP})
def attach(c: Context, run: str) -> None:
    """Attach this terminal to a run's session. Ctrl-b d leaves it again; Ctrl-C stops the training."""
    import os
    import sys

    from envs.tmux import attach_command, has_session

    found = _find(c, run, "train.attach")
    command = attach_command(ROOT, found.id)
    print(shlex.join(command))
    if c.config.run.dry:
        return
    if not has_session(ROOT, found.id):
        raise RunError(f"{found.id} is {found.state()} and has no session\n  next: `./inv train.logs {found.id}`")
    if not sys.stdin.isatty():
        raise RunError(f"attaching needs a terminal\n  next: `./inv train.logs {found.id} --follow`")
    os.environ.pop("TMUX", None)  # a session inside another tmux is what was asked for
    sys.stdout.flush()
    os.execvp(command[0], command)


@task(positional=["run"], help={"run": RUN_HELP, "now": "kill it: what came after the last checkpoint is lost"})
def stop(c: Context, run: str, now: bool = False) -> None:
    """Ask a run to write a checkpoint and end; kill it when the grace period is over."""
    from envs.launch import stop as end

    found = _find(c, run, "train.stop")
    if c.config.run.dry:
        print(f"would {'kill' if now else 'ask the runner (SIGTERM) to stop'} {found.id}, which is {found.state()}")
        return
    print(f"{found.id} {end(found, now=now)}\n  next: `./inv train.resume {found.id}` continues it")


@task(positional=["run"], help={"run": RUN_HELP, "follow": "show the progress until the run ends"})
def resume(c: Context, run: str, follow: bool = False) -> None:
    """Continue a stopped, failed or lost run from its newest checkpoint."""
    from envs.launch import resume as again

    found = _find(c, run, "train.resume")
    if c.config.run.dry:
        print(f"would resume {found.id}, which is {found.state()}:\n  {shlex.join(found.record()['command'])}")
        return
    again(ROOT, found)
    print(f"resumed {found.id}")
    if follow:
        raise Exit(code=_follow(found))


@task(positional=["run"], help={"run": RUN_HELP, "quiet": "no progress, only the end"})
def wait(c: Context, run: str, quiet: bool = False) -> None:
    """Wait until a run ends. Exit code: the training's own; 0 finished, 4 lost."""
    import time

    found = _find(c, run, "train.wait")
    if not quiet:
        raise Exit(code=_follow(found))
    while found.state() in ("queued", "running"):
        time.sleep(0.25)
    raise Exit(code=_report_end(found))


@task(positional=["run"], help={"run": RUN_HELP, "yes": "do not ask"})
def rm(c: Context, run: str, yes: bool = False) -> None:
    """Delete a run's folder, never of one that is running."""
    import sys

    from envs.launch import remove

    found = _find(c, run, "train.rm")
    if c.config.run.dry:
        print(f"would delete {found.folder}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise RunError(f"this deletes {found.folder} for good\n  next: `./inv train.rm {found.id} --yes`")
        if input(f"delete {found.folder} for good? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Exit("nothing was deleted", code=1)
    remove(found)
    print(f"deleted {found.folder}")


@task(help={"json": "print one JSON document"})
def recipes(c: Context, json: bool = False) -> None:
    """List the recipes and the settings each takes."""
    from seqlab import recipes as known

    described = [known.describe(name) for name in known.names()]
    if json:
        print_json([{**one._asdict(), "keys": [key._asdict() for key in one.keys]} for one in described])
        return
    for description in described:
        print(f"{description.name}: {description.summary}")
        for key in description.keys:
            print(f"  --set {f'{key.name}={key.default}':<36} {key.help} ({key.type})")
