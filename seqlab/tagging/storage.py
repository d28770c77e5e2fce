"""One file for a tagger: safetensors, with a card of plain JSON and a SHA-256 in its header. Nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seqlab.errors import CheckpointError
from seqlab.files import describe_os_error, replace_file

__all__ = ["check_weights", "read_model", "write_model"]

FORMAT, VERSION = "seqlab-tagger", 1
Arrays = Mapping[str, NDArray[Any]]


def write_model(path: Path, card: Mapping[str, Any], arrays: Arrays) -> None:
    """Put card and arrays at `path` in one move; the folder is made where it is missing.

    Raises:
        SeqlabError: the file could not be written; what was at `path` stays.
    """
    text = json.dumps(card, sort_keys=True, allow_nan=False)
    whole = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    header = {"format": FORMAT, "version": str(VERSION), "card": text, "sha256": _digest(text, whole)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, save(whole, metadata=header))
    except OSError as error:
        raise describe_os_error(error, "saving a tagger") from error


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read and verify what `write_model` wrote.

    Raises:
        CheckpointError: there is no such file; it is damaged, of another format, or of a later version.
    """
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # the last two: a dtype that NumPy lacks
        raise CheckpointError(f"{path} cannot be read as a tagger: {error}") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a file of format {FORMAT}, got {header.get('format')!r}")
    if header.get("version") != str(VERSION):
        raise CheckpointError(f"{path} has version {header.get('version')}, this seqlab reads {VERSION}: update seqlab")
    if header.get("sha256") != _digest(header.get("card", ""), arrays):
        raise CheckpointError(f"{path} is damaged: its SHA-256 does not match")
    try:
        card = json.loads(header.get("card", ""))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as a tagger: its card is no JSON: {error}") from error
    if not isinstance(card, dict):
        kind = type(card).__name__
        raise CheckpointError(f"{path} cannot be read as a tagger: its card must be a JSON object, got {kind}")
    return card, arrays


def check_weights(arrays: Arrays) -> None:
    """Check that all weights are finite float32 numbers.

    Raises:
        ValueError: it names the first array with others.
    """
    for name, values in arrays.items():
        if values.dtype != np.float32:
            raise ValueError(f"{name} must hold float32 numbers, got {values.dtype}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must hold finite numbers only")


def _digest(card: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(card.encode())
    for name in sorted(arrays):
        digest.update(f"\n{name} {arrays[name].dtype} {list(arrays[name].shape)}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
