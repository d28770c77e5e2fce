"""Batches of sequences of like length."""

import random
from collections.abc import Sequence

__all__ = ["length_batches"]


def length_batches(lengths: Sequence[int], *, budget: int, seed: str | None) -> list[list[int]]:
    """Indices of the sequences in batches of like length, at most `budget` places each, padding included.

    Within a batch the longest comes first. With a `seed` sequences of the same length change places and the
    batches come in random order; the number of batches never depends on it. A sequence longer than `budget` is a
    batch of its own.

    >>> length_batches([2, 9, 3, 2], budget=6, seed=None)
    [[1], [2, 0], [3]]
    """
    generator = None if seed is None else random.Random(seed)
    order = list(range(len(lengths)))
    if generator is not None:
        generator.shuffle(order)
    order.sort(key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    for index in order:
        # The first of a batch is its longest, so every place up to its length is paid for.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    if generator is not None:
        generator.shuffle(batches)
    return batches
