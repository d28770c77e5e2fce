"""`log.txt` from the bytes of a terminal: whole lines, progress bars kept only in their last state."""

import codecs
import os
import re
from pathlib import Path

__all__ = ["LogFile"]

# CSI sequences (colours, cursor movement), OSC sequences (titles, links) and lone two-byte escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# A single line without an end is cut here, so that a runaway program cannot fill the memory.
_LONGEST = 1 << 16


class LogFile:
    """Append a terminal's output to `path`, a line at a time.

    Within a line, what a carriage return overwrote is dropped, as a terminal would show it; escape sequences are
    removed. A disk that is full loses log lines (counted in `lost_lines`), never the program that prints them.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self.lost_lines = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes the program printed."""
        *lines, self._partial = (self._partial + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._write(line)
        if len(self._partial) > _LONGEST:
            # A bar redrawn for hours is one long line: only what shows needs keeping.
            self._partial = self._partial[-_LONGEST:]

    def note(self, text: str) -> None:
        """Write a line of the runner's own, after whatever the program left unfinished."""
        self._finish_line()
        self._write(f"[runner] {text}")

    def close(self) -> None:
        """Write the unfinished last line, if any, and close the file."""
        self._partial += self._decoder.decode(b"", final=True)
        self._finish_line()
        os.close(self._descriptor)

    def _finish_line(self) -> None:
        if self._partial:
            self._write(self._partial)
        self._partial = ""

    def _write(self, line: str) -> None:
        shown = [part for part in _ESCAPES.sub("", line).split("\r") if part.strip()]
        try:
            os.write(self._descriptor, ((shown[-1] if shown else "") + "\n").encode())
        except OSError:
            self.lost_lines += 1
