"""Files that survive a kill or a full disk at any moment: written beside, flushed, renamed."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["read_json", "write_atomically", "write_json"]


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` by `text`: a reader sees the old contents or the new, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Replace `path` by `value` as indented JSON, Chinese kept readable."""
    write_atomically(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None when it is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
