"""Looking up very many strings at once.

A tagger spends most of its time on turning strings into numbers. Python's dict does that one string at a time, on one
core. Joined into one buffer, they are looked up by compiled code on all cores.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlab import kernels

__all__ = ["StringTable"]

SEPARATOR = "\0"


class StringTable:
    """Numbers for strings.

    Args:
        names: all different; number i is that of `names[i]`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        from seqlab.tagging.lookup_kernels import fill_table

        split = _split(SEPARATOR.join(names), len(names))
        self.usable = split is not None and len(names) > 0
        if not self.usable or split is None:
            return
        self._buffer, self._ends = split
        self._hashes = np.zeros(len(names), np.uint64)
        self._table = np.full(1 << (2 * len(names)).bit_length(), -1, np.int32)
        fill_table(0, len(names), self._buffer, self._ends, self._hashes, self._table)

    def find(self, groups: Iterable[Iterable[str]], total: int) -> NDArray[np.int32] | None:
        """Return the numbers (total,) of the strings of all groups in a row, −1 for strings without one.

        None if that cannot be done here: a string holds the character NUL.

        Raises:
            TypeError: what should be a string is none.
        """
        from seqlab.tagging.lookup_kernels import find_strings

        if not self.usable:
            return None
        split = _split(SEPARATOR.join(map(SEPARATOR.join, filter(None, groups))), total)
        if split is None:
            return None
        found = np.empty(total, np.int32)
        known = (self._buffer, self._ends, self._hashes, self._table)
        kernels.run(find_strings, total, 8.0 * split[0].size, *split, *known, found)
        return found


def _split(joined: str, count: int) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """Return the bytes and where each of `count` strings ends; None if there are more separators than that."""
    data = np.frombuffer(joined.encode("utf-8", "surrogatepass"), np.uint8)
    separators = np.flatnonzero(data == 0)
    if len(separators) != max(count - 1, 0):
        return None
    return data, np.append(separators, data.size).astype(np.int64)
