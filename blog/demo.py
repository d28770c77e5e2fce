"""`./inv demo`: the whole way once, from this machine as it is to a page that can be opened.

It stands in the blog's room because publishing is its last step: it uses what `envs` offers and then the blog.
"""

from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from envs.errors import KitError, RunError
from envs.settings import ROOT, blog_dir, number, runs_dir
from seqlab.errors import ConfigError

if TYPE_CHECKING:
    from envs.runs import Run

__all__ = ["demo"]

RUN_ID = "demo"
RECIPE = "tagger"


@task(
    help={
        "fresh": "train anew; the old run is removed once the new one has started",
        "set": "change a setting of the tagger for a fresh run, e.g. --set loop.epochs=1",
    },
    iterable=["set"],
)
def demo(c: Context, fresh: bool = False, set: list[str] | None = None) -> None:
    """Set everything up, train a tagger in a detached session, follow it and make the page of its results.

    Interrupt it as you like: the training goes on, and the next `./inv demo` picks it up where it is.
    """
    if c.config.run.dry:
        print(f"would look at the machine, prepare the environment, train {RECIPE} in {runs_dir(c) / RUN_ID}, post it")
        return
    _look_at_machine()
    _prepare(c)
    run = _training(c, fresh, set or [])
    _follow_to_the_end(run)
    _publish(c, run)


def _step(number_: int, title: str) -> None:
    print(f"\n── {number_}/5 {title} ──", flush=True)


def _look_at_machine() -> None:
    """Show what `doctor` finds; stop only where something needed is missing.

    Raises:
        KitError: naming the command that installs it.
    """
    from envs.doctor import examine, table

    _step(1, "this machine")
    findings = examine(ROOT)
    print(table(findings))
    broken = [finding for finding in findings if finding.level == "broken"]
    if broken:
        mends = "\n".join(f"  next: {finding.mend}" for finding in broken)
        raise KitError(f"needed and missing: {', '.join(f.name for f in broken)}\n{mends}\n  then: ./inv demo")


def _prepare(c: Context) -> None:
    from envs.environment import up

    _step(2, "the environment")
    report = up(ROOT, blog_dir(c), str(c.config.mirrors.npm))
    print(f"Python {report['python']}, torch {report['proof']['torch']}, node {report['node']}: ready")


def _training(c: Context, fresh: bool, overrides: list[str]) -> "Run":
    """The demo's run: started, resumed, or found running or finished."""
    from envs.errors import NameTaken
    from envs.launch import recipe_order, start, start_afresh
    from envs.runs import Run
    from seqlab import recipes

    _step(3, "training in a detached tmux session")
    run = Run(runs_dir(c) / RUN_ID)
    # Checked before anything is touched: a mistyped setting must not cost the run that is there.
    config = recipes.resolve(RECIPE, overrides, data=None, seed=None)
    order = recipe_order(run.folder, RECIPE, config, str(c.config.train.gpu), float(c.config.train.grace_s))
    if not (run.folder / "run.json").exists():
        try:
            start(ROOT, run.folder, order)
        except NameTaken:  # another demo was quicker
            return _pick_up(run)
        print(f"started {run.id} in {run.folder}")
    elif fresh:
        start_afresh(ROOT, run, order)
        print(f"started {run.id} anew in {run.folder}")
    elif overrides and run.record().get("config") != config:
        ends = "ends it and " if run.is_alive() else ""
        raise ConfigError(
            f"the demo's run, which is {run.state()}, has other settings\n"
            f"  next: ./inv demo shows that run; ./inv demo --fresh --set … {ends}trains anew"
        )
    else:
        return _pick_up(run)
    return run


def _pick_up(run: "Run") -> "Run":
    """Go on with a run that is there, resuming it when it was cut short."""
    from envs.launch import resume
    from envs.runs import RESUMABLE

    state = run.state()
    if state in RESUMABLE:
        try:
            resume(ROOT, run)
        except RunError:
            if not run.is_alive():  # otherwise another demo has just resumed it
                raise
        print(f"the earlier run was {state}: resumed from its last checkpoint")
    else:
        print(f"picking up the run that is {state}" + ("; --fresh trains anew" if state == "finished" else ""))
    return run


def _follow_to_the_end(run: "Run") -> None:
    """Follow the run; Ctrl-C leaves it running and says how to come back.

    Raises:
        RunError: it did not finish; the log's last lines are in the message.
    """
    from envs.follow import REFUSED, follow, how_to_come_back

    if run.is_alive():
        print("(Ctrl-C leaves; the training goes on)")
    try:
        state = follow(run)
    except KeyboardInterrupt:
        again = "./inv demo                       picks it up again"
        raise Exit(f"\n{how_to_come_back(run.id)}\n  {again}", code=130) from None
    if state != "finished":
        record = run.record()
        mend = "./inv demo --fresh trains anew" if record.get("exit_code") == REFUSED else "./inv demo resumes it"
        tail = "\n".join(f"  | {line}" for line in run.log_tail(12))
        raise RunError(f"the training is {state}: {record.get('message', '')}\n{tail}\n  next: {mend}")


def _publish(c: Context, run: "Run") -> None:
    """Turn the run into a post, build the site, and say where it is."""
    from blog.post import write_post
    from blog.site import build, page_of
    from envs.follow import results_text

    _step(4, "results on held-out files")
    print(results_text(run))
    _step(5, "the page")
    post = write_post(run.folder, blog_dir(c))
    build(blog_dir(c), str(c.config.mirrors.npm) or None)
    print(f"post    {post}")
    print(f"open    {page_of(post, blog_dir(c))}")
    print(f"serve   ./inv blog.serve --port {int(number('blog.port', c.config.blog.port))}")
