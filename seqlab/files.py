"""Writing files so that a reader, or a crash, never sees half of one."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from seqlab.errors import SeqlabError

__all__ = ["describe_os_error", "read_json", "replace_file", "replace_json", "replace_text"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def replace_file(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Put `data` at `path` in one move: written beside it, flushed, renamed.

    `durable` also waits until file and folder are on the disk, so that it survives a power cut. `mode` is what the
    file may be used for from its first byte on, less the process's umask; 0o600 for what others must not read.
    On any failure the temporary file is removed and what was at `path` stays.

    Raises:
        OSError: the disk is full, the folder is read-only, and so on.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """`replace_file` with `text` in UTF-8."""
    replace_file(path, text.encode())


def replace_json(path: Path, value: object, *, durable: bool = True, mode: int = 0o666) -> None:
    """`replace_file` with `value` as readable JSON; NaN and infinity are refused, as JSON has none."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    # An environment variable may hold bytes that are no text: they come back from JSON as they went in.
    replace_file(path, text.encode(errors="surrogateescape"), durable=durable, mode=mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None when it is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_bytes().decode(errors="surrogateescape"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def describe_os_error(error: OSError, doing: str) -> SeqlabError:
    """An error for a person: what failed, why, and what to do, from an OSError met while `doing`."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _NO_ROOM:
        advice = "free some space, then run the same command again: it resumes from the newest checkpoint"
        return SeqlabError(f"no room left on the disk while {doing}{where}: {advice}")
    return SeqlabError(f"{error.strerror or error} while {doing}{where}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
