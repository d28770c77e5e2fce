"""Brute force: every path of a chain, one by one, in plain Python numbers. Slow, obvious, independent."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

NEVER = float("-inf")


class Enumeration(NamedTuple):
    """What the enumeration of one row's paths gives; `states` is [t][j], `moves` [i][j]."""

    log_partition: float
    best: tuple[int, ...]
    best_score: float
    states: list[list[float]]
    moves: list[list[float]]


def score_of(path: Sequence[int], emissions, transitions, start, end) -> float:
    if not path:
        return 0.0
    total = start[path[0]] + end[path[-1]]
    total += sum(emissions[t][tag] for t, tag in enumerate(path))
    return total + sum(transitions[i][j] for i, j in itertools.pairwise(path))


def all_paths(length: int, num_states: int) -> Iterator[tuple[int, ...]]:
    return itertools.product(range(num_states), repeat=length)


def enumerate_chain(emissions, transitions, start, end) -> Enumeration:
    """Enumerate one row: `emissions` is a list of n rows of K floats, without padding."""
    length, num_states = len(emissions), len(start)
    paths = list(all_paths(length, num_states))
    scores = [score_of(path, emissions, transitions, start, end) for path in paths]
    top = max(scores)
    states = [[0.0] * num_states for _ in range(length)]
    moves = [[0.0] * num_states for _ in range(num_states)]
    if top == NEVER:
        return Enumeration(NEVER, paths[0], NEVER, states, moves)
    log_z = top + math.log(math.fsum(math.exp(score - top) for score in scores))
    for path, score in zip(paths, scores, strict=True):
        probability = math.exp(score - log_z)
        for t, tag in enumerate(path):
            states[t][tag] += probability
        for i, j in itertools.pairwise(path):
            moves[i][j] += probability
    return Enumeration(log_z, paths[scores.index(top)], top, states, moves)
