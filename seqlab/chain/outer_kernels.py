"""Sums of outer products, compiled: the expected moves of all steps from the two factors of ξ.

    joint(i, j) = Σ_t before_t(i) · after_t(j)

It is a matrix product with a long inner dimension, taken in pieces that stay in the nearest cache.
"""

from typing import Any

from seqlab.kernels import inlined, jit
from seqlab.vector_kernels import WIDTH, add, fill, load, multiply_add, store

__all__ = ["add_outer_sums", "outer_sums"]

PIECE = 64  # steps


@inlined
def _add_rows(joint: Any, out: int, P: int, a: Any, b: Any, c: Any, d: Any) -> None:
    store(joint, out, add(load(joint, out), a))
    store(joint, out + P, add(load(joint, out + P), b))
    store(joint, out + 2 * P, add(load(joint, out + 2 * P), c))
    store(joint, out + 3 * P, add(load(joint, out + 3 * P), d))


@inlined
def _four_by_two(before: Any, after: Any, begin: int, stop: int, P: int, i: int, n: int, joint: Any, out: int) -> None:
    """Add the sums of four numbers of `before` and sixteen of `after`: eight sums that don't wait for each other."""
    a = fill(before.dtype.type(0))
    b, c, d, e, f, g, h = a, a, a, a, a, a, a
    for at in range(begin, stop, P):
        left, right = load(after, at + n), load(after, at + n + WIDTH)
        number = before[at + i]
        a, e = multiply_add(a, number, left), multiply_add(e, number, right)
        number = before[at + i + 1]
        b, f = multiply_add(b, number, left), multiply_add(f, number, right)
        number = before[at + i + 2]
        c, g = multiply_add(c, number, left), multiply_add(g, number, right)
        number = before[at + i + 3]
        d, h = multiply_add(d, number, left), multiply_add(h, number, right)
    _add_rows(joint, out, P, a, b, c, d)
    _add_rows(joint, out + WIDTH, P, e, f, g, h)


@inlined
def _four_by_one(before: Any, after: Any, begin: int, stop: int, P: int, i: int, n: int, joint: Any, out: int) -> None:
    a = fill(before.dtype.type(0))
    b, c, d = a, a, a
    for at in range(begin, stop, P):
        left = load(after, at + n)
        a, b = multiply_add(a, before[at + i], left), multiply_add(b, before[at + i + 1], left)
        c, d = multiply_add(c, before[at + i + 2], left), multiply_add(d, before[at + i + 3], left)
    _add_rows(joint, out, P, a, b, c, d)


@jit
def add_outer_sums(before: Any, after: Any, begin: int, stop: int, P: int, joint: Any, out: int) -> None:
    """Add the sum over the numbers begin … stop − 1 of both arrays to the P · P numbers of `joint` at `out`."""
    for first in range(begin, stop, PIECE * P):
        last = min(first + PIECE * P, stop)
        for i in range(0, P, 4):
            line = out + i * P
            for n in range(0, P - WIDTH, 2 * WIDTH):
                _four_by_two(before, after, first, last, P, i, n, joint, line + n)
            if P % (2 * WIDTH) > 0:
                _four_by_one(before, after, first, last, P, i, P - WIDTH, joint, line + P - WIDTH)


@jit
def outer_sums(begin: int, stop: int, steps: int, P: int, size: int, before: Any, after: Any, joint: Any) -> None:
    """Add block c's sum to joint (blocks · P · P,) for the blocks begin … stop − 1.

    Args:
        begin: first block.
        stop: block after the last.
        steps: number of steps in all.
        P: numbers of a step, a multiple of 8.
        size: steps of a block.
        before: (steps · P,).
        after: (steps · P,).
        joint: receives the sums.
    """
    for c in range(begin, stop):
        add_outer_sums(before, after, c * size * P, min((c + 1) * size, steps) * P, P, joint, c * P * P)
