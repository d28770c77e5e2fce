"""SIGINT, SIGTERM and SIGHUP: held back while a training step is under way, then raised as StopRequest."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["StopRequest", "StopSignals"]

# A closed terminal is a stop like any other: the run can be resumed.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


class StopRequest(KeyboardInterrupt):
    """A signal asked the training to stop; not an Exception, so that nothing catches it by accident."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.name = signal.Signals(signum).name
        self.exit_code = _EXIT_CODES[signal.Signals(signum)]


class StopSignals:
    """While entered, the first signal raises StopRequest where the program stands, a second one ends it at once.

    Inside `held()` the first signal waits until the block ends, so the block is done whole or not at all.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._raised = False
        self._depth = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for signum in _EXIT_CODES:
            previous = signal.getsignal(signum)
            if signum == signal.SIGHUP and previous is signal.SIG_IGN:
                continue  # started by nohup
            self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off a signal's StopRequest to the end of the block."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self._raise_if_due()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            os._exit(_EXIT_CODES[signal.Signals(signum)])
        self._received = signum
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._received is not None and not self._raised and not self._depth:
            self._raised = True
            raise StopRequest(self._received)
