"""The engine for many sequences behind one another in one numpy array, as hidden Markov models and taggers hold them.

`sizes` says how long each sequence is: the first sequence is rows 0 … sizes[0] − 1 of the (N, K) emissions, and
so on. Scores are logarithms, −inf forbids. With Numba a sequence is computed where it lies; without it,
sequences of similar length are padded into batches for the eager engine. Emissions may be float32 or float64 and
are computed as such; a sequence of size 0 has one empty path.

Where each step shows one of M symbols, the `symbol_…` functions take the (M, K) table of their scores instead of
N rows of emissions: nothing of size N × K is kept.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqlab import kernels
from seqlab.chain.compiled import packed_posterior, packed_viterbi
from seqlab.chain.inputs import mask_from_lengths
from seqlab.chain.partition import ExpectedCounts, expected_counts
from seqlab.chain.viterbi import eager_viterbi
from seqlab.errors import ShapeError

__all__ = [
    "PackedCounts",
    "PackedPath",
    "SymbolCounts",
    "forward_backward",
    "log_partition",
    "symbol_counts",
    "symbol_viterbi",
    "viterbi",
]

Floats = NDArray[Any]
Ints = NDArray[np.int64]

# Without Numba: enough rows to make a step worth its call, few enough that its B·K·K numbers stay in the cache,
# and at most 64 MB of emissions.
STEP_NUMBERS = 2**17
BATCH_NUMBERS = 2**23


class PackedCounts(NamedTuple):
    """What the posterior over paths expects.

    Attributes:
        log_partition: (S,), log Σ_y exp s(y), −inf where every path is forbidden.
        states: (N, K), γ_t(j) = P(y_t = j); 0 where every path is forbidden.
        transitions: (K, K), expected moves i → j over all sequences.
    """

    log_partition: Floats
    states: Floats
    transitions: Floats


class SymbolCounts(NamedTuple):
    """The same for sequences of symbols, the states summed by symbol.

    Attributes:
        log_partition: (S,).
        starts: (K,), expected first states.
        ends: (K,), expected last states.
        transitions: (K, K), expected moves.
        emissions: (M, K), expected number of times that state k shows symbol m.
    """

    log_partition: Floats
    starts: Floats
    ends: Floats
    transitions: Floats
    emissions: Floats


class PackedPath(NamedTuple):
    """The best path of every sequence.

    Attributes:
        states: (N,), int64; ties as in `seqlab.chain.viterbi`.
        score: (S,), −inf where every path is forbidden, 0 for an empty sequence.
    """

    states: Ints
    score: Floats


def forward_backward(
    emissions: Floats, transitions: Floats, start: Floats, end: Floats | None, sizes: Ints
) -> PackedCounts:
    """Return log-partitions, state posteriors and expected moves.

    Args:
        emissions: (N, K), float32 or float64.
        transitions: (K, K).
        start: (K,).
        end: (K,), or None for zeros.
        sizes: (S,), integers that add up to N.

    Raises:
        ShapeError: a shape, dtype or size is wrong, or a score is NaN or +inf.
    """
    scores = _Scores.of(emissions, transitions, start, end, sizes)
    if kernels.enabled() and scores.emissions.size:
        found = packed_posterior(None, *scores)
        log_z, states, moves = found.log_z, found.states, found.moves
        rest = found.unsafe
    else:
        log_z, states = np.zeros(scores.sizes.size), np.zeros_like(scores.emissions)
        moves, rest = np.zeros(scores.transitions.shape), np.ones(scores.sizes.size, dtype=np.bool_)
    for chosen, positions, inside, chain in scores.batches(rest):
        counts = _eager_counts(chain)
        log_z[chosen] = counts.log_partition.numpy()
        states[positions[inside]] = counts.states.numpy()[inside]
        moves += counts.transitions.numpy()
    return PackedCounts(log_z, states, moves)


def symbol_counts(
    symbols: Ints, table: Floats, transitions: Floats, start: Floats, end: Floats | None, sizes: Ints
) -> SymbolCounts:
    """Return the expected counts of a chain that shows symbol `symbols[t]` at step t: Baum–Welch's E-step.

    Args:
        symbols: (N,), integers in 0 … M − 1.
        table: (M, K), log-score of each symbol in each state.
        transitions: (K, K).
        start: (K,).
        end: (K,), or None for zeros.
        sizes: (S,), integers that add up to N.

    Raises:
        ShapeError: as in `forward_backward`, or a symbol is out of range.
    """
    symbols = _checked_symbols(symbols, table)
    scores = _Scores.of(table, transitions, start, end, sizes, steps=symbols.size)
    if kernels.enabled() and symbols.size:
        found = packed_posterior(symbols, *scores)
        log_z, moves, emitted = found.log_z, found.moves, found.emitted
        starts, ends, rest = found.edges[0], found.edges[1], found.unsafe
    else:
        log_z, moves, emitted = np.zeros(scores.sizes.size), np.zeros(scores.transitions.shape), np.zeros(table.shape)
        starts, ends, rest = np.zeros(len(start)), np.zeros(len(start)), np.ones(scores.sizes.size, dtype=np.bool_)
    for chosen, positions, inside, chain in scores.batches(rest, symbols):
        counts = _eager_counts(chain)
        states = counts.states.numpy()
        log_z[chosen] = counts.log_partition.numpy()
        moves += counts.transitions.numpy()
        np.add.at(emitted, symbols[positions[inside]], states[inside])
        starts += states[0].sum(axis=0)
        ends += states[scores.sizes[chosen] - 1, np.arange(chosen.size)].sum(axis=0)
    return SymbolCounts(log_z, starts, ends, moves, emitted)


def viterbi(
    emissions: Floats, transitions: Floats, start: Floats, end: Floats | None, sizes: Ints, *, last_wins: bool = False
) -> PackedPath:
    """Return the best path of every sequence. Arguments and errors as in `forward_backward`.

    Args:
        last_wins: among equally good predecessors take the last instead of the first.
    """
    return _viterbi(_Scores.of(emissions, transitions, start, end, sizes), None, last_wins)


def symbol_viterbi(
    symbols: Ints,
    table: Floats,
    transitions: Floats,
    start: Floats,
    end: Floats | None,
    sizes: Ints,
    *,
    last_wins: bool = False,
) -> PackedPath:
    """Return the best path of every sequence of symbols. Arguments and errors as in `symbol_counts`."""
    symbols = _checked_symbols(symbols, table)
    return _viterbi(_Scores.of(table, transitions, start, end, sizes, steps=symbols.size), symbols, last_wins)


def log_partition(emissions: Floats, transitions: Floats, start: Floats, end: Floats | None, sizes: Ints) -> Floats:
    """Return the (S,) log-partitions. Arguments and errors as in `forward_backward`."""
    return forward_backward(emissions, transitions, start, end, sizes).log_partition


def _viterbi(scores: "_Scores", symbols: Ints | None, last_wins: bool) -> PackedPath:
    if kernels.enabled() and scores.sizes.sum():
        return PackedPath(*packed_viterbi(symbols, *scores, last_wins))
    steps = len(scores.emissions) if symbols is None else symbols.size
    best, states = np.zeros(scores.sizes.size), np.zeros(steps, dtype=np.int64)
    everything = np.ones(scores.sizes.size, dtype=np.bool_)
    for chosen, positions, inside, chain in scores.batches(everything, symbols):
        path = eager_viterbi(*chain, last_wins=last_wins)
        best[chosen] = path.score.numpy()
        states[positions[inside]] = path.tags.numpy()[inside]
    return PackedPath(states, best)


def _eager_counts(chain: tuple[torch.Tensor, ...]) -> ExpectedCounts:
    with kernels.use_backend("torch"):
        return expected_counts(*chain)


class _Scores(NamedTuple):
    """Checked arguments."""

    emissions: Floats  # (N, K)
    transitions: Floats  # (K, K)
    start: Floats  # (K,)
    end: Floats  # (K,)
    sizes: Ints  # (S,)

    @classmethod
    def of(
        cls,
        emissions: Floats,
        transitions: Floats,
        start: Floats,
        end: Floats | None,
        sizes: Ints,
        steps: int | None = None,
    ) -> "_Scores":
        emissions = np.ascontiguousarray(emissions)
        if emissions.ndim != 2 or emissions.dtype not in (np.float32, np.float64):
            raise ShapeError(f"emissions must be (N, K) floats, got {emissions.shape} of {emissions.dtype}")
        K = emissions.shape[1]  # states
        end = np.zeros(K) if end is None else end
        sizes = np.asarray(sizes)
        if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
            raise ShapeError(f"sizes must be one row of integers ≥ 0, got {sizes}")
        steps = len(emissions) if steps is None else steps
        if sizes.sum() != steps:
            raise ShapeError(f"sizes must add up to {steps} steps, got {sizes.sum()}")
        parts = {"transitions": (transitions, (K, K)), "start": (start, (K,)), "end": (end, (K,))}
        for name, (values, shape) in parts.items():
            if np.shape(values) != shape:
                raise ShapeError(f"{name} must have shape {shape}, got {np.shape(values)}")
        pairs, first, last = (np.ascontiguousarray(values, dtype=emissions.dtype) for values, _ in parts.values())
        return cls(emissions, pairs, first, last, sizes.astype(np.int64))

    def batches(
        self, chosen: NDArray[np.bool_], symbols: Ints | None = None
    ) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_], tuple[torch.Tensor, ...]]]:
        """Yield the chosen sequences in batches, longest first: which, their (T, B) steps, the mask, and the chain."""
        starts, K = np.cumsum(self.sizes) - self.sizes, self.emissions.shape[1]
        order = np.argsort(-self.sizes, kind="stable")
        order = order[(chosen & (self.sizes > 0))[order]]
        fixed = [torch.from_numpy(part) for part in (self.transitions, self.start, self.end)]
        while order.size:
            T = int(self.sizes[order[0]])
            B = max(1, min(STEP_NUMBERS // K**2, BATCH_NUMBERS // (K * T)))
            batch, order = order[:B], order[B:]
            positions = (starts[batch] + np.arange(T)[:, None]).clip(max=int(self.sizes.sum()) - 1)
            lengths = torch.from_numpy(self.sizes[batch])
            inside: NDArray[np.bool_] = mask_from_lengths(lengths, T).numpy()
            lines = positions if symbols is None else symbols[positions]
            yield batch, positions, inside, (torch.from_numpy(self.emissions[lines]), *fixed, lengths)


def _checked_symbols(symbols: Ints, table: Floats) -> Ints:
    symbols = np.asarray(symbols)
    if symbols.ndim != 1 or not np.issubdtype(symbols.dtype, np.integer) or np.ndim(table) != 2:
        raise ShapeError(f"symbols must be one row of integers and table (M, K), got {symbols.shape}, {table.shape}")
    if symbols.size and not 0 <= symbols.min() <= symbols.max() < len(table):
        raise ShapeError(f"symbols must lie in 0 … {len(table) - 1}, got {symbols.min()} … {symbols.max()}")
    return symbols
