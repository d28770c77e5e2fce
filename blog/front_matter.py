"""The head of a post: YAML between two `---` lines, changed line by line so that a person's own lines survive."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from envs.errors import PublishError

__all__ = ["parse", "quoted", "split", "updated"]

HEAD = re.compile(r"\A\ufeff?---[ \t]*\r?\n(?P<head>.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def split(text: str) -> tuple[str, str] | None:
    """The head (without its `---` lines) and the rest of a post; None when it has no head."""
    match = HEAD.match(text)
    return (match["head"], text[match.end() :]) if match else None


def parse(head: str, path: Path) -> dict[str, Any]:
    """What a head says.

    Raises:
        PublishError: it is no YAML mapping; the message names the file and the line.
    """
    try:
        values = yaml.safe_load(head)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1  # the `---` line comes before the head
        problem = getattr(error, "problem", None) or str(error)
        raise PublishError(f"{path}:{line}: the front matter is not valid YAML: {problem}") from error
    except ValueError as error:  # a date like 2026-13-45
        raise PublishError(f"{path}:1: the front matter has a value that is none: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PublishError(f"{path}:2: the front matter should be `name: value` lines, not {type(values).__name__}")
    return {str(name): value for name, value in values.items()}


def quoted(text: str) -> str:
    """A string as YAML on one line; JSON's double quotes are YAML's."""
    return json.dumps(text, ensure_ascii=False)


def updated(head: str, path: Path, ours: dict[str, str], defaults: dict[str, str]) -> str:
    """Give a head our lines: `ours` replace what is there, `defaults` only fill what is missing.

    Both map a name to its YAML on one line. Everything else, comments included, stays as it was.
    """
    if head and not head.endswith("\n"):
        head += "\n"
    for name, value in ours.items():
        line = re.compile(rf"^{re.escape(name)}[ \t]*:.*$", re.MULTILINE)
        fresh = f"{name}: {value}"
        head = line.sub(lambda _: fresh, head, count=1) if line.search(head) else f"{head}{fresh}\n"  # noqa: B023
    present = parse(head, path)
    return head + "".join(f"{name}: {value}\n" for name, value in defaults.items() if name not in present)
