"""The numbers of a run as TensorBoard events: a convenience that may fail without harm to the run."""

import threading
from pathlib import Path
from typing import Any

__all__ = ["Events"]


class Events:
    """Writes scalars into `folder`, from `step` on. The first failure adds a line to `notes` and ends the writing.

    TensorBoard writes from a thread of its own, which ends with a stack trace when the disk is full. Until `close`,
    `threading.excepthook` takes the errors of TensorBoard's threads, and of no others, as that first failure.
    """

    def __init__(self, folder: Path, step: int, notes: list[str]) -> None:
        self._notes = notes
        self._writer: Any = None
        self._failed = False
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            notes.append("no TensorBoard events: pip install tensorboard to have them")
            return
        self._hook_before = threading.excepthook
        threading.excepthook = self._hook
        try:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        except OSError as error:
            self._give_up(error)
            threading.excepthook = self._hook_before

    def add(self, step: int, name: str, value: float) -> None:
        """Write one scalar, unless writing has failed before."""
        if self._writer is None or self._failed:
            return
        try:
            self._writer.add_scalar(name, value, step)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is left and end the thread."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)
        finally:
            threading.excepthook = self._hook_before
            self._writer = None

    def _hook(self, failure: threading.ExceptHookArgs) -> None:
        if type(failure.thread).__module__.startswith("tensorboard."):
            self._give_up(failure.exc_value)
        else:
            self._hook_before(failure)

    def _give_up(self, error: BaseException | None) -> None:
        if not self._failed:
            self._failed = True
            self._notes.append(f"no more TensorBoard events ({error}); metrics.jsonl holds all figures")
