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
    "packed_viterbi",
    "viterbi_moves",
    "viterbi_work",
]

Floats = NDArray[Any]
Ints = NDArray[np.int64]

# The kernels' `low`, `limit` and highest factor: see seqlab/chain/posterior_kernels.py. With these limits a step loses
# at most K · 2e-13 of the whole in float32 and K · 1e-15 in float64.
SETTINGS = {np.dtype(np.float32): (1e-3, 1e-19, 1e28), np.dtype(np.float64): (1e-30, 1e-232, 1e290)}
WIDTH = 8  # of `seqlab.vector_kernels`
BLOCKS = 8
BLOCK_ROWS = 1024
PIECE = 2**14


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


def padded(values: Floats, dtype: Any) -> Floats:
    """Pad the last dimension with zeros to a whole number of vectors."""
    width = -(-values.shape[-1] // WIDTH) * WIDTH
    wide = aligned((*values.shape[:-1], width), dtype)
    wide[..., : values.shape[-1]] = values
    return wide


def aligned(shape: tuple[int, ...], dtype: Any) -> Floats:
    """Return zeros that begin at a multiple of 64 bytes, as torch's memory does, so that no vector crosses a line."""
    return torch.zeros(shape, dtype=torch.float32 if np.dtype(dtype) == np.float32 else torch.float64).numpy()


def viterbi_moves(transitions: Floats, start: Floats, end: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return transitions and their transpose, (K · P,) each, start and end, (P,), padded for `best_paths`.

    Raises:
        ShapeError: one holds NaN or +inf.
    """
    from seqlab.chain.viterbi_kernels import pad_moves

    K, P = len(start), -(-len(start) // WIDTH) * WIDTH
    moves, into, first, last = (aligned((size,), transitions.dtype) for size in (K * P, K * P, P, P))
    transitions, start, end = (np.ascontiguousarray(part) for part in (transitions, start, end))
    if not pad_moves(transitions, start, end, P, moves, into, first, last):
        for name, part in (("transitions", transitions), ("start", start), ("end", end)):
            if not part.max() < np.inf:  # NaN survives the maximum
                raise ShapeError(f"{name} must hold no NaN and no +inf, got {part.max()}")
    return moves, into, first, last


def viterbi_work(steps: int, K: int) -> float:
    """Return the work of `best_paths` in multiply-adds; reading the path back takes its share."""
    return steps * (K + 24.0) * (K + 8.0)


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
        from seqlab.chain.posterior_kernels import exponentiate

        K, P = len(start), -(-len(start) // WIDTH) * WIDTH
        matrix, tops = np.empty((K, K)), np.empty(3)
        move, back, first, last = (aligned(shape, dtype) for shape in ((K, P), (K, P), (P,), (P,)))
        exponentiate(transitions, start, end, matrix, move, back, first, last, tops)
        settings = np.array(SETTINGS[np.dtype(dtype)], dtype)
        return cls(matrix, move, back, first, last, settings, float(tops[0]), float(tops[1] + tops[2]))

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
        layout: of the emissions and the states.
        scores: transitions (K, K), start (K,) and end (K,) in float64.
    """

    def __init__(
        self, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, dtype: torch.dtype
    ) -> None:
        from seqlab.chain.posterior_kernels import row_posteriors

        values = laid_out(emissions, dtype)
        sizes = lengths.numpy()
        T, B, K = values.shape
        layout = Layout.of(values)
        pairs, first, last = (part.detach().double().contiguous().numpy() for part in (transitions, start, end))
        self.layout, self.scores = layout, (pairs, first, last)
        self._moves = Moves.of(pairs, first, last, layout.flat.dtype)
        total, P = int(sizes.sum()), self._moves.move.shape[1]
        self.states = torch.empty_like(values) if total == T * B else torch.zeros_like(values)
        # In one piece: a C library that gives memory back when much of it is free does so less often.
        self._prefix, self._ahead = torch.empty((2, total, P), dtype=dtype)
        self._lengths, lines = lengths, np.cumsum(sizes) - sizes
        log_z, unsafe = np.empty(B), np.empty(B, np.bool_)
        kernels.run(
            row_posteriors, B, total * (K + 8) * P * 2, layout.flat, layout.first, layout.stride, sizes,
            *self._moves.flat(), lines, self._prefix.view(-1).numpy(), self._ahead.view(-1).numpy(),
            Layout.of(self.states).flat, log_z, unsafe,
        )  # fmt: skip
        self.log_partition = torch.from_numpy(log_z + self._moves.tops(sizes))
        self._careful: CompiledPosterior | EagerPosterior | None = None
        if unsafe.any():
            self._compute_again(torch.from_numpy(unsafe.nonzero()[0]), values, transitions, start, end, lines)

    def _compute_again(
        self, rows: Tensor, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lines: Ints
    ) -> None:
        lengths = self._lengths[rows]
        T = int(lengths.max())
        part = (emissions[:T, rows], transitions.detach(), start.detach(), end.detach(), lengths)
        if emissions.dtype == torch.float32:
            self._rows, self._careful = rows, CompiledPosterior(*part, torch.float64)
        else:
            self._rows, self._careful = rows, EagerPosterior(Doubles.of(*part))
        self.log_partition[rows] = self._careful.log_partition
        self.states[:T, rows] = self._careful.states.to(self.states.dtype)
        for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
            for buffer in (self._prefix, self._ahead):
                buffer[lines[row] : lines[row] + length] = 0

    def weighted_states(self, weights: Tensor) -> Tensor:
        """Return weights[b] · γ_t(j), (T, B, K)."""
        same = _common(weights)
        if same is None:
            return self.states * weights.to(self.states.dtype).unsqueeze(1)
        # In torch this would wake its threads, which takes longer, and very long on a busy machine.
        result = torch.empty_like(self.states)
        source, target = Layout.of(self.states).flat, Layout.of(result).flat

        def multiply(begin: int, stop: int) -> None:
            part = slice(begin * PIECE, stop * PIECE)
            np.multiply(source[part], source.dtype.type(same), out=target[part])

        kernels.run(multiply, -(-source.size // PIECE), 4.0 * source.size)
        return result

    def moves(self, weights: Tensor) -> Tensor:
        """Return Σ_b weights[b] Σ_t ξ_t as (K, K), float64."""
        K, same = self.states.size(2), _common(weights)
        before, after = self._prefix[:-1], self._ahead[1:]  # across two rows, ahead is 0
        if weights.numel() == 0 or not before.numel():
            return torch.zeros((K, K), dtype=torch.float64)
        if same is not None:
            joint = _outer_sums(before.numpy(), after.numpy()) * same
        else:
            each = weights.to(after.dtype).repeat_interleave(self._lengths)[1:]
            joint = _outer_sums(before.numpy(), (after * each.unsqueeze(1)).numpy())
        found = torch.from_numpy(joint[:K, :K] * self._moves.matrix)
        if self._careful is not None:
            found += self._careful.moves(weights[self._rows])
        return found


def _common(weights: Tensor) -> float | None:
    """Return what all (B,) weights are, or None if they differ."""
    values = weights.numpy()
    return float(values[0]) if (values == values[:1]).all() and values.size else None


def _outer_sums(before: Floats, after: Floats) -> Floats:
    """Return beforeᵀ · after, (n, P) · (n, P) → (P, P), the blocks' sums added up in float64.

    No matrix product of a BLAS: on a busy machine it takes far longer to wake its threads than to multiply.
    """
    from seqlab.chain.outer_kernels import outer_sums

    (steps, P), blocks = before.shape, -(-len(before) // BLOCK_ROWS)
    joint = aligned((blocks, P, P), before.dtype)
    flat = (part.reshape(-1) for part in (before, after, joint))
    kernels.run(outer_sums, blocks, 1.0 * steps * P * P, steps, P, BLOCK_ROWS, *flat)
    total: Floats = joint.sum(axis=0, dtype=np.float64)
    return total


class PackedPosterior(NamedTuple):
    """The kernels' result for sequences behind one another; the caller computes the unsafe ones again.

    Attributes:
        log_z: (S,).
        unsafe: (S,), bool; nothing of such a sequence is in `moves`, `emitted` and `edges`.
        states: (N, K), γ; for symbols empty.
        emitted: (M, K), Σ γ by symbol; without symbols empty.
        edges: (2, K), Σ γ over first and last steps.
        moves: (K, K), the expected moves, float64.
    """

    log_z: Floats
    unsafe: NDArray[np.bool_]
    states: Floats
    emitted: Floats
    edges: Floats
    moves: Floats


def packed_posterior(
    symbols: Ints | None, scores: Floats, transitions: Floats, start: Floats, end: Floats, sizes: Ints
) -> PackedPosterior:
    """Run forward–backward on packed sequences.

    Arguments as in `seqlab.chain.packed`, checked: `scores` is (N, K) emissions, or with symbols (M, K), their table.
    """
    from seqlab.chain.posterior_kernels import packed_posteriors

    dtype, K = scores.dtype, scores.shape[1]
    moves = Moves.of(transitions, start, end, dtype)
    P, first, steps = moves.start.size, np.cumsum(sizes) - sizes, int(sizes.sum())
    blocks = min(BLOCKS, sizes.size)
    # Blocks of about equal numbers of steps, the same whatever the number of threads.
    bounds = np.searchsorted(np.cumsum(sizes), np.linspace(0, steps, blocks + 1)[1:-1], side="right")
    bounds = np.concatenate([[0], bounds, [sizes.size]])
    log_z, unsafe = np.zeros(sizes.size), np.zeros(sizes.size, np.bool_)
    edges, joint = np.zeros((blocks, 2 * P), dtype), np.zeros((blocks, P * P), dtype)
    shown, states, emitted, weights = np.empty(0, np.int64), np.empty(0, dtype), np.empty((blocks, 0), dtype), scores
    if symbols is None:
        states = np.empty(steps * K, dtype)
    else:
        largest = scores.max(axis=1)
        largest[largest == -np.inf] = 0.0
        with np.errstate(invalid="ignore"):
            weights = padded(np.exp(scores - largest[:, None]), dtype)
        shown, emitted = symbols, np.zeros((blocks, weights.size), dtype)
    arrays = (weights.reshape(-1), shown, first, sizes, *moves.flat(), states, emitted, edges, joint, log_z, unsafe)
    kernels.run(packed_posteriors, blocks, steps * K * (K + 8) * 2, bounds, unsafe.copy(), *arrays)
    if unsafe.any():  # once more without them, where they have left their mark on a block's sums
        for block in range(blocks):
            if unsafe[bounds[block] : bounds[block + 1]].any():
                emitted[block], edges[block], joint[block] = 0, 0, 0
                packed_posteriors(block, block + 1, bounds, unsafe.copy(), *arrays)
    if symbols is not None:
        nonempty = np.flatnonzero(sizes)
        log_z[nonempty] += np.add.reduceat(largest[symbols], first[nonempty])
    expected = joint.sum(axis=0, dtype=np.float64).reshape(P, P)[:K, :K] * moves.matrix
    shapes = ((blocks, -1, P), (blocks, 2, P))
    emitted, edges = (
        part.reshape(shape)[..., :K].sum(axis=0, dtype=np.float64)
        for part, shape in zip((emitted, edges), shapes, strict=True)
    )
    return PackedPosterior(log_z + moves.tops(sizes), unsafe, states.reshape(-1, K), emitted, edges, expected)


def packed_viterbi(
    symbols: Ints | None, scores: Floats, transitions: Floats, start: Floats, end: Floats, sizes: Ints, last_wins: bool
) -> tuple[Ints, Floats]:
    """Return (N,) states and (S,) scores; `scores` is (N, K), or with symbols (M, K). All arguments checked."""
    from seqlab.chain.viterbi_kernels import best_paths

    K, first = scores.shape[1], np.cumsum(sizes) - sizes
    steps = int(sizes.sum())
    shown, stride, wide = np.empty(0, np.int64), K, K - K % WIDTH
    if symbols is not None:
        shown, scores = symbols, padded(scores, scores.dtype)
        stride = wide = scores.shape[1]
    states, best = np.empty(steps, np.int64), np.empty(sizes.size)
    kernels.run(
        best_paths, sizes.size, viterbi_work(steps, K), scores.reshape(-1), first * K, stride, wide, shown, first,
        sizes, *viterbi_moves(transitions, start, end), last_wins, states, first, 1, best,
    )  # fmt: skip
    if np.isnan(best).any():
        raise ShapeError(f"scores must not be NaN, got NaN in sequence {int(np.isnan(best).argmax())}")
    return states, best
