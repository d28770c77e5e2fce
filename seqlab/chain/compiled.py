"""Forward–backward by the compiled kernels, for tensors on the CPU and for packed numpy arrays.

The kernels work in float32 or float64, whichever the arguments are, and mark the rows in which scaled
probabilities may have lost paths; those few are computed again by `seqlab.chain.eager`.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlab import kernels
from seqlab.chain.doubles import Doubles
from seqlab.chain.eager import EagerPosterior
from seqlab.errors import ShapeError

__all__ = [
    "CompiledPosterior",
    "Layout",
    "laid_out",
    "packed_posterior",
    "packed_symbol_posterior",
    "packed_viterbi",
    "viterbi_moves",
]

Floats = NDArray[Any]
Ints = NDArray[np.int64]

# The kernels' `low`, `limit` and highest factor: see seqlab/chain/posterior_kernels.py.
SETTINGS = {np.dtype(np.float32): (1e-4, 1e-28, 1e28), np.dtype(np.float64): (1e-30, 1e-290, 1e290)}
WIDTH = 8  # of `seqlab.vector_kernels`
BLOCKS = 8
BLOCK_ROWS = 1024


class Layout(NamedTuple):
    """Where the numbers of a (T, B, K) tensor lie: row b's step t begins at `flat[first[b] + t · stride]`."""

    flat: Floats
    first: Ints
    stride: int

    @classmethod
    def of(cls, values: Tensor) -> "Layout":
        """Describe a tensor whose last dimension is contiguous; nothing is copied."""
        T, B, K = values.shape
        by_step, by_row, _ = values.stride()
        span = (T - 1) * by_step + (B - 1) * by_row + K
        flat = values.detach().as_strided((span,), (1,)).numpy()
        return cls(flat, np.arange(B, dtype=np.int64) * by_row, by_step)


def laid_out(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (T, B, K) values in `dtype`, dense and with contiguous steps, copied only where they must be."""
    values = values.detach().to(dtype)
    dense = values.is_contiguous() or values.transpose(0, 1).is_contiguous()
    return values if dense else values.contiguous()


def padded(values: Floats, dtype: Any, padding: float = 0.0) -> Floats:
    """Pad the last dimension to a whole number of vectors."""
    width = -(-values.shape[-1] // WIDTH) * WIDTH
    wide = np.full((*values.shape[:-1], width), padding, dtype)
    wide[..., : values.shape[-1]] = values
    return wide


def viterbi_moves(transitions: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return transitions and their transpose, (K · P,) each, start and end, (P,), padded for `best_paths`.

    Raises:
        ShapeError: one holds NaN or +inf.
    """
    for name, part in (("transitions", transitions), ("start", start), ("end", end)):
        if not part.max() < np.inf:  # one pass: NaN survives the maximum
            raise ShapeError(f"{name} must hold no NaN and no +inf, got {part.max()}")
    moves, into, first, last = (
        padded(part, part.dtype, -np.inf).reshape(-1) for part in (transitions, transitions.T, start, end)
    )
    return moves, into, first, last


class Moves(NamedTuple):
    """A chain's transitions, start and end as the kernels want them: exponentiated, padded, with their tops apart."""

    matrix: Floats  # (K, K), E in float64
    move: Floats  # (K, P), E
    back: Floats  # (K, P), its transpose
    start: Floats  # (P,)
    end: Floats  # (P,)
    settings: Floats  # (3,)
    top: float  # of the transitions
    ends_top: float  # of start and end together

    @classmethod
    def of(cls, transitions: Floats, start: Floats, end: Floats, dtype: Any) -> "Moves":
        """Exponentiate in float64, less each part's largest score, then round to `dtype`."""
        parts, tops = [], []
        for scores in (transitions, start, end):
            scores = scores.astype(np.float64)
            top = scores.max()
            top = 0.0 if top == -np.inf else top
            with np.errstate(invalid="ignore"):  # +inf and NaN make the rows unsafe, and are named there
                parts.append(np.exp(scores - top))
            tops.append(float(top))
        matrix, first, last = parts
        settings = np.array(SETTINGS[np.dtype(dtype)], dtype)
        both = (padded(matrix, dtype), padded(np.ascontiguousarray(matrix.T), dtype))
        return cls(matrix, *both, padded(first, dtype), padded(last, dtype), settings, tops[0], tops[1] + tops[2])

    def flat(self) -> tuple[Floats, ...]:
        """Return what the kernels take."""
        return self.move.reshape(-1), self.back.reshape(-1), self.start, self.end, self.settings

    def tops(self, lengths: Ints) -> Floats:
        """Return what the kernels' log-partitions lack: (B,)."""
        shift: Floats = np.where(lengths > 0, self.ends_top + self.top * (lengths - 1), 0.0)
        return shift


class CompiledPosterior:
    """What `EagerPosterior` is, from the kernels.

    Attributes:
        log_partition: (B,), float64.
        states: (T, B, K), float32 or float64, laid out as the emissions; 0 in the padding.
    """

    def __init__(
        self, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, dtype: torch.dtype
    ) -> None:
        from seqlab.chain.posterior_kernels import row_posteriors

        values = laid_out(emissions, dtype)
        sizes = lengths.numpy()
        T, B, K = values.shape
        layout = Layout.of(values)
        pairs, first, last = (part.detach().double().numpy() for part in (transitions, start, end))
        self._moves = Moves.of(pairs, first, last, layout.flat.dtype)
        total, P = int(sizes.sum()), self._moves.move.shape[1]
        self.states = torch.empty_like(values) if total == T * B else torch.zeros_like(values)
        self._prefix, self._ahead = torch.empty((total, P), dtype=dtype), torch.empty((total, P), dtype=dtype)
        self._lengths, lines = lengths, np.cumsum(sizes) - sizes
        log_z, unsafe = np.empty(B), np.empty(B, np.bool_)
        kernels.run(
            row_posteriors, B, total * (K + 8) * P * 2, layout.flat, layout.first, layout.stride, sizes,
            *self._moves.flat(), lines, self._prefix.view(-1).numpy(), self._ahead.view(-1).numpy(),
            Layout.of(self.states).flat, log_z, unsafe,
        )  # fmt: skip
        self.log_partition = torch.from_numpy(log_z + self._moves.tops(sizes))
        self._careful: EagerPosterior | None = None
        if unsafe.any():
            self._compute_again(torch.from_numpy(unsafe.nonzero()[0]), values, transitions, start, end, lines)

    def _compute_again(
        self, rows: Tensor, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lines: Ints
    ) -> None:
        lengths = self._lengths[rows]
        T = int(lengths.max())
        part = (emissions[:T, rows], transitions.detach(), start.detach(), end.detach(), lengths)
        self._rows, self._careful = rows, EagerPosterior(Doubles.of(*part))
        self.log_partition[rows] = self._careful.log_partition
        self.states[:T, rows] = self._careful.states.to(self.states.dtype)
        for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
            for buffer in (self._prefix, self._ahead):
                buffer[lines[row] : lines[row] + length] = 0

    def moves(self, weights: Tensor) -> Tensor:
        """Return Σ_b weights[b] Σ_t ξ_t as (K, K), float64."""
        K = self.states.size(2)
        before, after = self._prefix[:-1], self._ahead[1:]  # across two rows, ahead is 0
        if weights.numel() == 0 or not before.numel():
            return torch.zeros((K, K), dtype=torch.float64)
        if bool((weights == weights[0]).all()):
            joint = _outer_sums(before.numpy(), after.numpy()) * float(weights[0])
        else:
            each = weights.to(after.dtype).repeat_interleave(self._lengths)[1:]
            joint = _outer_sums(before.numpy(), (after * each.unsqueeze(1)).numpy())
        found = torch.from_numpy(joint[:K, :K] * self._moves.matrix)
        if self._careful is not None:
            found += self._careful.moves(weights[self._rows])
        return found


def _outer_sums(before: Floats, after: Floats) -> Floats:
    """Return beforeᵀ · after, (n, P) · (n, P) → (P, P), the blocks' sums added up in float64.

    No matrix product of a BLAS: on a busy machine it takes far longer to wake its threads than to multiply.
    """
    from seqlab.chain.outer_kernels import outer_sums

    (steps, P), blocks = before.shape, -(-len(before) // BLOCK_ROWS)
    joint = np.zeros((blocks, P, P), before.dtype)
    flat = (part.reshape(-1) for part in (before, after, joint))
    kernels.run(outer_sums, blocks, 1.0 * steps * P * P, steps, P, BLOCK_ROWS, *flat)
    total: Floats = joint.sum(axis=0, dtype=np.float64)
    return total


class PackedPosterior:
    """The kernels' result for sequences behind one another; the caller computes the unsafe ones again.

    Attributes:
        log_z: (S,).
        unsafe: (S,), bool; nothing of such a sequence is in `moves`, `emitted` and `edges`.
        states: (N, K), γ; for symbols empty.
        emitted: (M, K), Σ γ by symbol.
        edges: (2, K), Σ γ over first and last steps.
    """

    def __init__(self, moves: Moves, sizes: Ints, dtype: Any) -> None:
        steps, P = int(sizes.sum()), moves.move.shape[1]
        self._moves, self.first = moves, np.cumsum(sizes) - sizes
        self.sizes, self.log_z, self.unsafe = sizes, np.empty(sizes.size), np.empty(sizes.size, np.bool_)
        self.prefix, self.ahead = np.empty((steps, P), dtype), np.empty((steps, P), dtype)
        self.states = self.emitted = self.edges = np.empty(0)

    def finish(self) -> None:
        """Complete the log-partitions and drop what unsafe sequences left."""
        self.log_z += self._moves.tops(self.sizes)
        for sequence in self.unsafe.nonzero()[0]:
            steps = slice(self.first[sequence], self.first[sequence] + self.sizes[sequence])
            self.prefix[steps] = self.ahead[steps] = 0

    def moves(self) -> Floats:
        """Return the expected moves of all safe sequences, (K, K), float64."""
        K = len(self._moves.matrix)
        if len(self.prefix) < 2:
            return np.zeros((K, K))
        counts: Floats = _outer_sums(self.prefix[:-1], self.ahead[1:])[:K, :K] * self._moves.matrix
        return counts


def packed_posterior(
    emissions: Floats, transitions: Floats, start: Floats, end: Floats, sizes: Ints
) -> PackedPosterior:
    """Run forward–backward; arguments as in `seqlab.chain.packed.forward_backward`, checked."""
    from seqlab.chain.posterior_kernels import row_posteriors

    K, moves = emissions.shape[1], Moves.of(transitions, start, end, emissions.dtype)
    found = PackedPosterior(moves, sizes, emissions.dtype)
    found.states = np.empty_like(emissions)
    kernels.run(
        row_posteriors, sizes.size, emissions.size * (K + 8) * 2, emissions.reshape(-1), found.first * K, K, sizes,
        *moves.flat(), found.first, found.prefix.reshape(-1), found.ahead.reshape(-1), found.states.reshape(-1),
        found.log_z, found.unsafe,
    )  # fmt: skip
    found.finish()
    return found


def packed_symbol_posterior(
    symbols: Ints, table: Floats, transitions: Floats, start: Floats, end: Floats, sizes: Ints
) -> PackedPosterior:
    """Run forward–backward on symbols; arguments as in `seqlab.chain.packed.symbol_counts`, checked."""
    from seqlab.chain.posterior_kernels import symbol_posteriors

    (M, K), moves = table.shape, Moves.of(transitions, start, end, table.dtype)
    found = PackedPosterior(moves, sizes, table.dtype)
    largest = table.max(axis=1)
    largest[largest == -np.inf] = 0.0
    with np.errstate(invalid="ignore"):
        weights = padded(np.exp(table - largest[:, None]), table.dtype)
    blocks = min(BLOCKS, sizes.size)
    # Blocks of about equal numbers of steps, the same whatever the number of threads.
    bounds = np.searchsorted(np.cumsum(sizes), np.linspace(0, sizes.sum(), blocks + 1)[1:-1], side="right")
    bounds = np.concatenate([[0], bounds, [sizes.size]])
    P = weights.shape[1]
    emitted, edges = np.zeros((blocks, M, P), table.dtype), np.zeros((blocks, 2, P), table.dtype)
    kernels.run(
        symbol_posteriors, blocks, symbols.size * K * (K + 8) * 2, bounds, symbols, found.first, sizes, weights.reshape(-1),
        *moves.flat(), found.prefix.reshape(-1), found.ahead.reshape(-1), emitted.reshape(blocks, -1),
        edges.reshape(blocks, -1), found.log_z, found.unsafe,
    )  # fmt: skip
    nonempty = np.flatnonzero(sizes)
    found.log_z[nonempty] += np.add.reduceat(largest[symbols], found.first[nonempty])
    found.finish()
    found.emitted, found.edges = (part[..., :K].sum(axis=0).astype(np.float64) for part in (emitted, edges))
    return found


def packed_viterbi(
    symbols: Ints | None, scores: Floats, transitions: Floats, start: Floats, end: Floats, sizes: Ints, last_wins: bool
) -> tuple[Ints, Floats]:
    """Return (N,) states and (S,) scores; `scores` is (N, K), or with symbols (M, K). All arguments checked."""
    from seqlab.chain.viterbi_kernels import best_paths

    K, first = scores.shape[1], np.cumsum(sizes) - sizes
    steps = int(sizes.sum())
    shown = np.empty(0, np.int64) if symbols is None else symbols
    states, best = np.empty(steps, np.int64), np.empty(sizes.size)
    kernels.run(
        best_paths, sizes.size, steps * (K + 8) * K, scores.reshape(-1), first * K, K, shown, first, sizes,
        *viterbi_moves(transitions, start, end), last_wins, states, first, 1, best,
    )  # fmt: skip
    if np.isnan(best).any():
        raise ShapeError(f"scores must not be NaN, got NaN in sequence {int(np.isnan(best).argmax())}")
    return states, best
