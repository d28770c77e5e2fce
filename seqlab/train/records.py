"""The numbers of a run: metrics.jsonl, which is the record, and the same as TensorBoard events."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from seqlab.errors import SeqlabError
from seqlab.files import replace_file
from seqlab.train.events import Events
from seqlab.train.recipe import Metric

__all__ = ["Records"]


class Records:
    """Appends to metrics.jsonl, from `offset` bytes on, and to TensorBoard, from `step` on.

    A resumed run drops what was written after its checkpoint, so that its file ends up the same bytes as that of
    a run that was never stopped. `notes` says what could not be done as asked; `add` and `close` may add to it.
    """

    def __init__(self, folder: Path, *, offset: int, step: int) -> None:
        self._path = folder / "metrics.jsonl"
        self.notes: list[str] = []
        self.kept = self._cut(offset)
        self._file = self._path.open("ab")
        self._events = Events(folder / "tb", step, self.notes)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Record `values` (by name) at `step`.

        Raises:
            SeqlabError: a value is not finite; the training has gone wrong.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise SeqlabError(f"{name} became {value} at step {step}: lower --set loop.lr or loop.clip")
            record = {"step": step, "name": name, "value": float(value)}
            self._file.write(json.dumps(record).encode() + b"\n")
            self.kept.append(Metric(step, name, value))
            self._events.add(step, name, value)
        self._file.flush()

    def sync(self) -> int:
        """Wait until all lines are on the disk; return the file's length in bytes, for a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close both files."""
        try:
            self._file.close()
        finally:
            self._events.close()

    def _cut(self, offset: int) -> list[Metric]:
        """Keep the records in the first `offset` bytes of metrics.jsonl and return them; drop lines that are none."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if len(data) < offset:
            self.notes.append("metrics.jsonl is shorter than the checkpoint says: some earlier figures are lost")
        lines = [(line, _metric(line)) for line in data[:offset].split(b"\n") if line]
        kept = b"".join(line + b"\n" for line, metric in lines if metric is not None)
        if kept != data or not self._path.exists():
            replace_file(self._path, kept)
        metrics = [metric for _, metric in lines if metric is not None]
        if len(metrics) < len(lines):
            self.notes.append(f"metrics.jsonl: {len(lines) - len(metrics)} damaged line(s) dropped, the rest is kept")
        return metrics


def _metric(line: bytes) -> Metric | None:
    """The record on a line of metrics.jsonl, or None when the line is damaged."""
    try:
        # A line may be nested too deeply for the parser: RecursionError.
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.keys() != set(Metric._fields):
        return None
    step, name, value = record["step"], record["name"], record["value"]
    # bool is a subclass of int, hence the exact types.
    whole = type(step) is int and isinstance(name, str) and type(value) is float and math.isfinite(value)
    return Metric(step, name, value) if whole else None
