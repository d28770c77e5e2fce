"""Checkpoints: one safetensors file each, complete or absent, verified when read. Nothing is ever unpickled.

A file's header carries the metadata as JSON and a SHA-256 over metadata and tensors. A file that fails the check
is passed over for the one before.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from seqlab.errors import CheckpointError
from seqlab.files import describe_os_error, replace_file

__all__ = ["Checkpoint", "checkpoint_path", "load_checkpoint", "load_newest", "save_checkpoint"]

KEPT = 2
_FORMAT = "seqlab-checkpoint-1"


class Checkpoint(NamedTuple):
    """Named tensors of any shape and dtype, and metadata of plain JSON values."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps goes; names sort by step."""
    return folder / f"step-{step:08d}.safetensors"


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint in one move, then remove all but the newest two.

    Raises:
        SeqlabError: it could not be written, for example on a full disk; older checkpoints are intact.
    """
    metadata = json.dumps(checkpoint.metadata, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.tensors.items()}
    header = {"format": _FORMAT, "metadata": metadata, "sha256": _digest(tensors, metadata)}
    path = checkpoint_path(folder, step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, save(tensors, metadata=header))
    except OSError as error:
        raise describe_os_error(error, "writing a checkpoint") from error
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint; tensors are on the CPU.

    Raises:
        CheckpointError: it is no checkpoint, cut off or changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if header.get("format") != _FORMAT:
        raise CheckpointError(f"{path.name}: expected format {_FORMAT}, got {header.get('format')!r}")
    metadata = header.get("metadata", "")
    if header.get("sha256") != _digest(tensors, metadata):
        raise CheckpointError(f"{path.name} is damaged: its SHA-256 does not match")
    return Checkpoint(tensors, json.loads(metadata))


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, or None in a folder without any; and notes on those passed over.

    Damaged files that are passed over are renamed to `*.damaged`, so that they do not count as checkpoints again.

    Raises:
        CheckpointError: there are checkpoints but none is whole.
    """
    for unfinished in folder.glob(".step-*.tmp"):  # of a process that was killed while writing
        unfinished.unlink(missing_ok=True)
    damaged: dict[Path, str] = {}
    for path in _newest_first(folder):
        try:
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            damaged[path] = str(error)
            continue
        for bad in damaged:
            bad.rename(bad.with_suffix(".damaged"))
        return checkpoint, [f"{reason}: falling back to {path.name}" for reason in damaged.values()]
    if damaged:
        raise CheckpointError(
            f"no usable checkpoint in {folder}, so resuming cannot work ({'; '.join(damaged.values())}): start anew "
            f"with another name, or remove the folder {folder} to train from step 0"
        )
    return None, []


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def _digest(tensors: Mapping[str, torch.Tensor], metadata: str) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
