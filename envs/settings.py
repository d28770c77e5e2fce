"""Where things are, and the kit's settings as the tasks read them from `invoke.yaml` and the environment."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invoke import Context

from seqlab.errors import ConfigError

__all__ = ["DEFAULTS", "ROOT", "blog_dir", "check_settings", "number", "print_json", "runs_dir", "text"]

ROOT = Path(__file__).resolve().parent.parent

# What holds when invoke.yaml says nothing; a key's type decides how an environment variable is read.
DEFAULTS: dict[str, Any] = {
    "runs": "runs",
    "train": {"grace_s": 60, "gpu": "auto"},
    "blog": {"folder": "blog", "port": 4000},
    "mirrors": {"pip": "", "torch_cpu": "", "npm": ""},
}
# Invoke's own sections, which may stand in the same file.
_INVOKE_SECTIONS = ("run", "runners", "sudo", "tasks", "timeouts")


def runs_dir(c: Context) -> Path:
    """The folder of runs; a relative setting is relative to the checkout."""
    return (ROOT / str(c.config.runs)).resolve()


def blog_dir(c: Context) -> Path:
    """The hexo folder that is written to and built; a relative setting is relative to the checkout."""
    return (ROOT / str(c.config.blog.folder)).resolve()


def number(name: str, value: Any, least: float = 0) -> float:
    """Read a numeric option or setting.

    Raises:
        ConfigError: it is not a number, or less than `least`.
    """
    try:
        read = float(value)
    except (TypeError, ValueError):
        read = float("nan")
    if not least <= read < float("inf"):
        raise ConfigError(f"{name} takes a number of at least {least:g}, not {value!r}")
    return read


def text(name: str, value: str, example: str) -> str:
    """Return `value` unless it is empty or looks like a flag that was swallowed.

    Raises:
        ConfigError: naming the option and showing an example.
    """
    if not value or value.startswith("-"):
        came = f"{value!r} is not one" if value else "none was given"
        raise ConfigError(f"{name} is needed, but {came}\n  next: {example}")
    return value


def check_settings(settings: Any, variables: Mapping[str, str]) -> None:
    """Refuse an `invoke.yaml` or `SEQLAB_…` variables of the wrong kind before Invoke stumbles over them.

    Args:
        settings: what `invoke.yaml` holds; None when it is missing or empty.
        variables: the process's environment.

    Raises:
        ConfigError: naming the key, what it takes and what came, and for an unknown key the nearest known one.
    """
    if settings is not None and not isinstance(settings, dict):
        raise ConfigError(f"invoke.yaml must hold `name: value` lines, not a {type(settings).__name__}")
    _check_section("", settings or {}, DEFAULTS)
    for path, default in _leaves(DEFAULTS):
        variable = "SEQLAB_" + "_".join(path).upper()
        value = variables.get(variable)
        if value is not None and isinstance(default, int) and not (value.isascii() and value.isdigit()):
            raise ConfigError(f"{variable} takes a whole number, not {value!r}")
        if value == "" and default:
            raise ConfigError(f"{variable} is empty; leave it out to get {default!r}")


def _check_section(prefix: str, found: dict[str, Any], known: dict[str, Any]) -> None:
    for name, value in found.items():
        default = known.get(name)
        if default is None:
            if not prefix and name in _INVOKE_SECTIONS and isinstance(value, dict):
                continue
            near = difflib.get_close_matches(str(name), known, 1)
            raise ConfigError(
                f"invoke.yaml: unknown setting {prefix}{name}" + (f"; {prefix}{near[0]}?" if near else "")
            )
        if isinstance(default, dict):
            if not isinstance(value, dict):
                raise ConfigError(f"invoke.yaml: {prefix}{name} takes settings of its own, not {value!r}")
            _check_section(f"{prefix}{name}.", value, default)
        elif not isinstance(value, type(default)) or isinstance(value, bool):
            wanted = "a whole number" if isinstance(default, int) else "a text"
            raise ConfigError(f"invoke.yaml: {prefix}{name} takes {wanted}, not {value!r}")


def _leaves(settings: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def print_json(value: Any) -> None:
    """Print `value` for a program: Chinese as it is, one document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))
