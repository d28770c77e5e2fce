"""A hash table from strings, as UTF-8 bytes in one buffer, to numbers: open addressing, compiled.

String i of a buffer lies between the separators (or the buffer's ends) `ends[i − 1]` and `ends[i]`. A slot of the
table holds a string's number or −1; a string looks for its slot from its hash on (Knuth 1998, *Sorting and Searching*,
section 6.4, algorithm L). The hash is FNV-1a, mixed so that its low bits depend on every byte.
"""

from typing import Any

import numpy as np

from seqlab.kernels import jit

__all__ = ["fill_table", "find_strings"]

BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
MIX, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


@jit
def _hash(buffer: Any, begin: int, end: int) -> Any:
    value = BASIS
    for i in range(begin, end):
        value = (value ^ np.uint64(buffer[i])) * PRIME
    value = (value ^ (value >> SHIFT)) * MIX
    return value ^ (value >> SHIFT)


@jit
def _same(buffer: Any, begin: int, end: int, other: Any, at: int) -> bool:
    for i in range(end - begin):  # noqa: SIM110 (compiled)
        if buffer[begin + i] != other[at + i]:
            return False
    return True


@jit
def fill_table(begin: int, stop: int, buffer: Any, ends: Any, hashes: Any, table: Any) -> None:
    """Put the strings begin … stop − 1, all different, into `table` (2ⁿ slots, all −1), their hashes into `hashes`."""
    mask = np.uint64(table.size - 1)
    for number in range(begin, stop):
        first = ends[number - 1] + 1 if number else 0
        hashes[number] = _hash(buffer, first, ends[number])
        slot = hashes[number] & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = number


@jit
def find_strings(
    begin: int, stop: int, buffer: Any, ends: Any, known: Any, known_ends: Any, hashes: Any, table: Any, found: Any
) -> None:
    """Fill `found` for the strings begin … stop − 1 of `buffer`: their number among the known ones, or −1."""
    mask = np.uint64(table.size - 1)
    for i in range(begin, stop):
        first, end = ends[i - 1] + 1 if i else 0, ends[i]
        value = _hash(buffer, first, end)
        slot = value & mask
        found[i] = -1
        while table[slot] >= 0:
            number = table[slot]
            if hashes[number] == value:
                at = known_ends[number - 1] + 1 if number else 0
                if known_ends[number] - at == end - first and _same(buffer, first, end, known, at):
                    found[i] = number
                    break
            slot = (slot + np.uint64(1)) & mask
