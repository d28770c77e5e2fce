"""Tasks about the checkout itself: `doctor`, `test`, `check`, `bench`."""

import shlex
import sys

from invoke import Context, Exit, task

from envs.errors import KitError
from envs.settings import ROOT, print_json

__all__ = ["bench", "check", "doctor", "test"]


def _run_python(c: Context, *words: str) -> int:
    """Echo and run `python WORDS` in the checkout with our terminal; returns its exit code."""
    # Invoke's own `cd` escapes blanks only.
    command = f"cd {shlex.quote(str(ROOT))} && {shlex.join([sys.executable, *words])}"
    done = c.run(command, echo=True, pty=sys.stdout.isatty() and sys.stdin.isatty(), warn=True, in_stream=False)
    return done.exited if done is not None else 0


@task(help={"json": "print one JSON document"})
def doctor(c: Context, json: bool = False) -> None:
    """Look at this machine: what is there, what is missing, and the command that mends it.

    Exit code 0: fine; 1: warnings; 2: something needed is missing.
    """
    from envs.doctor import examine, exit_code, table

    findings = examine(ROOT)
    if json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print(table(findings))
    raise Exit(code=exit_code(findings))


@task(
    help={
        "fast": "leave out the tests marked slow",
        "select": "only tests whose names match this pytest expression (-k)",
        "path": "only this file or folder under tests/",
        "workers": "processes to use; 0 runs in one",
    }
)
def test(c: Context, fast: bool = False, select: str = "", path: str = "tests", workers: int = 2) -> None:
    """Run the tests. What needs a missing program is skipped with the reason and the package to install."""
    words = ["-m", "pytest", path]
    if workers > 1:
        words += ["-n", str(workers), "--dist", "loadgroup"]
    if fast:
        words += ["-m", "not slow"]
    if select:
        words += ["-k", select]
    raise Exit(code=_run_python(c, *words))


@task(help={"fix": "let ruff change the files instead of complaining"})
def check(c: Context, fix: bool = False) -> None:
    """Lint, check the formatting and the types."""
    steps = [
        ["-m", "ruff", "check", "."] + (["--fix"] if fix else []),
        ["-m", "ruff", "format", "."] + ([] if fix else ["--check"]),
        ["-m", "mypy"],
    ]
    codes = [_run_python(c, *step) for step in steps]
    raise Exit(code=max(codes))


@task(help={"name": "which benchmark, e.g. crf; all when left out"})
def bench(c: Context, name: str = "") -> None:
    """Measure against the libraries people use now. Prints hardware, versions, shapes and ratios."""
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted((ROOT / "benchmarks").glob("bench_*.py"))}
    if name and name not in scripts:
        raise KitError(f"there is no benchmark {name!r}\n  next: one of {', '.join(scripts)}")
    chosen = [scripts[name]] if name else list(scripts.values())
    codes = [_run_python(c, "-m", f"benchmarks.{path.stem}") for path in chosen]
    raise Exit(code=max(codes, default=0))
