"""Where a run is now: progress.json for other programs and one line for the person watching."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TextIO

from seqlab.files import replace_json

__all__ = ["Phase", "Progress", "format_duration"]

Phase = Literal["prepare", "train", "evaluate", "report", "done"]

_FILE_INTERVAL_S = 0.5
_LINE_INTERVAL_S = 10.0
_BAR_WIDTH = 24


class Progress:
    """Keeps progress.json fresh: at every change of phase, and at most twice a second in between.

    On a terminal the line is redrawn in place; elsewhere a plain line is printed every ten seconds.
    `total_steps` and `epochs` are known once the data is; `shown` names the metrics on the line.
    """

    def __init__(self, path: Path, *, stream: TextIO | None = None, shown: tuple[str, ...] = ()) -> None:
        self._path = path
        self._stream = stream or sys.stdout
        self._tty = self._stream.isatty()
        self._shown = shown
        self._began = self._phase_began = time.monotonic()
        self._written = self._printed = float("-inf")
        self._open_line = False
        self.phase: Phase = "prepare"
        self.step = self.total_steps = self.epoch = self.epochs = self.first_step = 0
        self.metrics: dict[str, float] = {}

    def enter(self, phase: Phase) -> None:
        """Begin `phase` and write the file whatever the time."""
        self.phase, self._phase_began = phase, time.monotonic()
        self.first_step = self.step
        self._write_file()
        if phase in ("train", "done") and self.total_steps:
            self._write_line()

    def update(self, step: int, epoch: int, metrics: Mapping[str, float] | None = None) -> None:
        """Note a finished step and new metrics; write file and line when they are due."""
        self.step, self.epoch = step, epoch
        self.metrics.update(metrics or {})
        now = time.monotonic()
        if now - self._written >= _FILE_INTERVAL_S:
            self._write_file()
        if now - self._printed >= (_FILE_INTERVAL_S if self._tty else _LINE_INTERVAL_S):
            self._write_line()

    def say(self, text: str) -> None:
        """Print a line of log; a progress line that is being redrawn is ended first."""
        if self._open_line:
            self._stream.write("\n")
            self._open_line = False
        print(text, file=self._stream, flush=True)

    def eta_s(self) -> float | None:
        """Seconds until the last step at the pace so far; None before the first step of this process."""
        if self.phase == "done":
            return 0.0
        done = self.step - self.first_step
        if self.phase != "train" or done <= 0:
            return None
        return (time.monotonic() - self._phase_began) / done * (self.total_steps - self.step)

    def line(self) -> str:
        """The line as text: bar, share, step, the shown metrics, time left."""
        share = self.step / self.total_steps if self.total_steps else 0.0
        filled = int(share * _BAR_WIDTH)
        parts = [f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {share:4.0%}"]
        parts.append(f"step {self.step}/{self.total_steps}")
        parts += [f"{name} {self.metrics[name]:.4g}" for name in self._shown if name in self.metrics]
        eta = self.eta_s()
        if self.phase == "train" and eta is not None:
            parts.append(f"ETA {format_duration(eta)}")
        return "  ".join(parts)

    def _write_file(self) -> None:
        eta = self.eta_s()
        self._written = time.monotonic()
        value = {
            "phase": self.phase,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "epochs": self.epochs,
            "elapsed_s": round(self._written - self._began, 2),
            "eta_s": None if eta is None else round(eta, 1),
            "metrics": self.metrics,
            "time": time.time(),
        }
        replace_json(self._path, value, durable=False)

    def _write_line(self) -> None:
        self._printed = time.monotonic()
        if self._tty:
            self._stream.write(f"\r\x1b[K{self.line()}")
            self._stream.flush()
            self._open_line = True
        else:
            self.say(self.line())


def format_duration(seconds: float) -> str:
    """`75.4` as `1m15s`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"
