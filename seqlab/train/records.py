"""The numbers of a run: metrics.jsonl, which is the record, and the same as TensorBoard events."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqlab.errors import SeqlabError
from seqlab.files import replace_file
from seqlab.train.recipe import Metric

__all__ = ["Records"]


class Records:
    """Appends to metrics.jsonl, from `offset` bytes on, and to TensorBoard, from `step` on.

    A resumed run drops what was written after its checkpoint, so that its file ends up the same bytes as that of
    a run that was never stopped. `notes` says what could not be done as asked.
    """

    def __init__(self, folder: Path, *, offset: int, step: int) -> None:
        self._path = folder / "metrics.jsonl"
        self.notes: list[str] = []
        self.kept = self._cut(offset)
        self._file = self._path.open("ab")
        self._writer = self._tensorboard(folder / "tb", step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` (by name) at `step`.

        Raises:
            SeqlabError: a value is not finite; the training has gone wrong.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise SeqlabError(f"{name} became {value} at step {step}: lower --set loop.lr or loop.clip")
            record = {"step": step, "name": name, "value": value}
            self._file.write(json.dumps(record).encode() + b"\n")
            self.kept.append(Metric(step, name, value))
            if self._writer is not None:
                self._writer.add_scalar(name, value, step)
        self._file.flush()

    def sync(self) -> int:
        """Wait until all lines are on the disk; return the file's length in bytes, for a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()

    def _cut(self, offset: int) -> list[Metric]:
        """Keep the first `offset` bytes of metrics.jsonl and return their records."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if len(data) < offset:
            self.notes.append("metrics.jsonl is shorter than the checkpoint says: some earlier figures are lost")
        kept = data[:offset]
        if kept != data or not self._path.exists():
            replace_file(self._path, kept)
        return [Metric(**json.loads(line)) for line in kept.splitlines()]

    def _tensorboard(self, folder: Path, step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.notes.append("no TensorBoard events: pip install 'seqlab[tensorboard]' to have them")
            return None
        return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
