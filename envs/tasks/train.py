"""`train.*`: start, watch, stop and resume training runs."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from envs.errors import RunError
from envs.settings import ROOT, number, print_json, runs_dir, text
from seqlab.errors import ConfigError

if TYPE_CHECKING:
    from envs.launch import Order
    from envs.runs import Run

    OrderMaker = Callable[[Path], Order]

__all__ = ["attach", "logs", "ls", "resume", "rm", "show", "start", "stop", "wait"]

RUN_HELP = "the run's name, or the beginning of it"
WHICH_RUN = "`./inv train.list` shows the runs there are"
# What only a shell would understand: passed on as words, each would silently do nothing.
_SHELL_WORDS = ("|", "||", "&&", "&", ";", ">", ">>", "<", "2>", "2>&1", "&>")


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
        "cmd": "run this command instead of a recipe; `python` is the kit's own, no shell reads it",
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
    from envs.launch import check_gpus, start_unnamed
    from envs.launch import start as launch
    from envs.runs import check_run_id

    gpu, grace_s = gpu or str(c.config.train.gpu), number("--grace", grace or c.config.train.grace_s)
    if cmd and (recipe or set or data or seed):
        raise ConfigError("--cmd runs a command of your own: it takes no recipe, --data, --set or --seed")
    make_order = _command(cmd, gpu, grace_s) if cmd else _recipe(recipe, set or [], data, seed, gpu, grace_s)
    runs, stem = runs_dir(c), recipe or "run"
    folder = runs / check_run_id(name) if name else None
    check_gpus(gpu)
    if c.config.run.dry:
        order = make_order(folder or runs / f"{stem}-DATE-TIME")
        print(f"would make {folder or runs / f'{stem}-…'} and run there, in a detached tmux session, with GPUs {gpu}:")
        print(f"  {shlex.join(order.command)}")
        if order.config is not None:
            print_json(order.config)
        return
    run = launch(ROOT, folder, make_order(folder)) if folder else start_unnamed(ROOT, runs, stem, make_order)
    if json:
        print_json({"id": run.id, "folder": str(run.folder), "state": run.state()})
        return
    print(f"started {run.id} in {run.folder}\n  $ {shlex.join(run.record()['command'])}")
    if follow:
        raise Exit(code=_follow(run))
    print(f"follow it: ./inv train.logs {run.id} --follow")


def _recipe(recipe: str, overrides: list[str], data: str, seed: str, gpu: str, grace_s: float) -> "OrderMaker":
    """The order for a recipe, once its folder is known; everything is checked before anything is started."""
    from envs.launch import recipe_order
    from seqlab import recipes

    text("a recipe", recipe, f"./inv train.start {recipes.names()[0]}   (there are: {', '.join(recipes.names())})")
    if seed and not (seed.isascii() and seed.isdigit()):
        raise ConfigError(f"--seed takes a whole number from 0, not {seed!r}")
    path = str(Path(data).expanduser().resolve()) if data else None
    config = recipes.resolve(recipe, overrides, data=path, seed=int(seed) if seed else None)
    return lambda folder: recipe_order(folder, recipe, config, gpu, grace_s)


def _command(line: str, gpu: str, grace_s: float) -> "OrderMaker":
    """The order for a person's own command, read as words; no shell ever sees it."""
    from envs.launch import Order

    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"--cmd cannot be read as words ({error}): {line!r}") from None
    example = "--cmd 'python train.py --epochs 3'"
    text("a command", words[0] if words else "", example)
    shell = next((word for word in words if word in _SHELL_WORDS), None)
    if shell:
        raise ConfigError(f"no shell reads --cmd, so {shell!r} would be an argument\n  next: --cmd \"bash -c '…'\"")
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if shutil.which(words[0], path=search) is None:
        raise ConfigError(f"there is no program {words[0]!r} on PATH\n  next: {example}")
    return lambda _folder: Order(words, gpu=gpu, grace_s=grace_s, cwd=Path.cwd())


def _follow(run: "Run") -> int:
    """Follow a run; returns the exit code it stands for, or says how to come back after Ctrl-C."""
    from envs.follow import follow, how_to_come_back, report_end

    print("(Ctrl-C leaves; the training goes on)")
    try:
        follow(run)
    except KeyboardInterrupt:
        raise Exit(f"\n{how_to_come_back(run.id)}", code=130) from None
    return report_end(run)


def _find(c: Context, name: str, command: str) -> "Run":
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
    from envs.tmux import attach_command, has_session

    found = _find(c, run, "train.attach")
    command = attach_command(ROOT, found.id)
    print(f"{shlex.join(command)}\n(Ctrl-b d leaves; Ctrl-C stops the training)")
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
    from envs.follow import next_step
    from envs.launch import stop as end

    found = _find(c, run, "train.stop")
    if c.config.run.dry:
        print(f"would {'kill' if now else 'ask the runner (SIGTERM) to stop'} {found.id}, which is {found.state()}")
        return
    state = end(found, now=now)
    print(f"{found.id} {state}: {found.record().get('message', '')}\n  next: {next_step(found)}")


@task(positional=["run"], help={"run": RUN_HELP, "follow": "show the progress until the run ends"})
def resume(c: Context, run: str, follow: bool = False) -> None:
    """Continue a stopped, failed or lost run from its newest checkpoint."""
    from envs.launch import resume as again

    found = _find(c, run, "train.resume")
    if c.config.run.dry:
        print(f"would resume {found.id}, which is {found.state()}:\n  {shlex.join(found.record()['command'])}")
        return
    again(ROOT, found)
    print(f"resumed {found.id}\n  $ {shlex.join(found.record()['command'])}")
    if follow:
        raise Exit(code=_follow(found))


@task(positional=["run"], help={"run": RUN_HELP, "quiet": "no progress, only the end"})
def wait(c: Context, run: str, quiet: bool = False) -> None:
    """Wait until a run ends. Exit code: the training's own; 0 finished, 4 lost."""
    from envs.follow import report_end

    found = _find(c, run, "train.wait")
    if not quiet:
        raise Exit(code=_follow(found))
    while found.state() in ("queued", "running"):
        time.sleep(0.25)
    raise Exit(code=report_end(found))


@task(positional=["run"], help={"run": "the run's whole name", "yes": "do not ask"})
def rm(c: Context, run: str, yes: bool = False) -> None:
    """Delete a run's folder, never of one that is running."""
    from envs.launch import remove

    found = _find(c, run, "train.rm")
    if found.id != run:
        raise RunError(f"{run!r} is only the beginning of {found.id!r}\n  next: `./inv train.rm {found.id}`")
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
