"""Where things are, and the kit's settings as the tasks read them from `invoke.yaml` and the environment."""

import json
from pathlib import Path
from typing import Any

from invoke import Context

from envs.errors import KitError

__all__ = ["DEFAULTS", "ROOT", "blog_dir", "number", "print_json", "runs_dir", "text"]

ROOT = Path(__file__).resolve().parent.parent

# What holds when invoke.yaml says nothing; a key's type decides how an environment variable is read.
DEFAULTS: dict[str, Any] = {
    "runs": "runs",
    "train": {"grace_s": 60, "gpu": "auto"},
    "blog": {"folder": "blog", "port": 4000},
    "mirrors": {"pip": "", "torch_cpu": "", "npm": ""},
}


def runs_dir(c: Context) -> Path:
    """The folder of runs; a relative setting is relative to the checkout."""
    return (ROOT / str(c.config.runs)).resolve()


def blog_dir(c: Context) -> Path:
    """The hexo folder that is written to and built; a relative setting is relative to the checkout."""
    return (ROOT / str(c.config.blog.folder)).resolve()


def number(name: str, value: Any, least: float = 0) -> float:
    """Read a numeric option or setting.

    Raises:
        KitError: it is not a number, or less than `least`.
    """
    try:
        read = float(value)
    except (TypeError, ValueError):
        read = float("nan")
    if not least <= read < float("inf"):
        raise KitError(f"{name} takes a number of at least {least:g}, not {value!r}")
    return read


def text(name: str, value: str, example: str) -> str:
    """Return `value` unless it is empty or looks like a flag that was swallowed.

    Raises:
        KitError: naming the option and showing an example.
    """
    if not value or value.startswith("-"):
        came = f"{value!r} is not one" if value else "none was given"
        raise KitError(f"{name} is needed, but {came}\n  next: {example}")
    return value


def print_json(value: Any) -> None:
    """Print `value` for a program: Chinese as it is, one document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))
