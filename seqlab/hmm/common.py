"""What every hidden Markov model needs besides the chain: sequences in batches, convergence, distributions."""

import sys
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqlab import chain

__all__ = [
    "ConvergenceMonitor",
    "Floats",
    "Ints",
    "Random",
    "SequenceBatch",
    "batches",
    "draw",
    "normalized",
    "seeded",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Random = np.random.RandomState | int | None

# Enough rows to make a step worth its call, few enough that its B·K·K numbers (1 MB) stay in the cache.
STEP_NUMBERS = 2**17
# A batch's emissions, T·B·K numbers, take at most 64 MB.
BATCH_NUMBERS = 2**23


class ConvergenceMonitor:
    """The log-likelihood after each iteration of `fit`, and when to stop.

    Args:
        tol: stop when an iteration gains less than this.
        n_iter: stop after this many iterations.
        verbose: print iteration, log-likelihood and gain to standard error.

    Attributes:
        history: log-likelihoods before each update.
        iter: iterations done.
    """

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol, self.n_iter, self.verbose = tol, n_iter, verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def report(self, log_prob: float) -> None:
        """Record one iteration."""
        if self.verbose:
            gain = log_prob - self.history[-1] if self.history else float("nan")
            print(f"{self.iter + 1:>10d} {log_prob:>16.8f} {gain:>+16.8f}", file=sys.stderr)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether the last gain is below `tol` or the iterations are used up."""
        gained_little = len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol
        return self.iter >= self.n_iter or gained_little


class SequenceBatch(NamedTuple):
    """Sequences of similar length side by side: (T, B) positions in the data, 0 … n−1, and (B,) lengths."""

    positions: Ints
    lengths: torch.Tensor

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(T, B), True where there is an observation."""
        mask: NDArray[np.bool_] = chain.mask_from_lengths(self.lengths, len(self.positions)).numpy()
        return mask


def batches(sizes: Ints, num_states: int) -> Iterator[SequenceBatch]:
    """Yield sequences of the lengths `sizes` in batches, longest first, as large as the two limits above allow."""
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    while order.size:
        T = int(sizes[order[0]])
        B = max(1, min(STEP_NUMBERS // num_states**2, BATCH_NUMBERS // (num_states * T)))
        chosen, order = order[:B], order[B:]
        positions = (starts[chosen] + np.arange(T)[:, None]).clip(max=int(sizes.sum()) - 1)
        yield SequenceBatch(positions, torch.from_numpy(sizes[chosen]))


def normalized(counts: NDArray[Any], fallback: Floats | None, name: str) -> Floats:
    """Divide by each row's sum; a row without counts keeps `fallback`'s, or becomes uniform, with a warning."""
    totals = counts.sum(axis=-1, keepdims=True)
    empty = (totals == 0)[..., 0]
    shares: Floats = counts / np.where(totals == 0, 1.0, totals)
    if empty.any():
        usable = fallback is not None and fallback.shape == counts.shape
        kept = np.asarray(fallback) if usable else np.full(counts.shape, 1.0 / counts.shape[-1])
        shares = np.where(totals == 0, kept, shares)
        rows = np.flatnonzero(empty).tolist()
        kind = "keep their values" if usable else "become uniform"
        warnings.warn(f"{name}: nothing was counted for rows {rows}; they {kind}", stacklevel=3)
    return shares


def seeded(seed: Random) -> np.random.RandomState:
    """Return the generator of a seed; a generator is returned as it is, None gives an unpredictable one."""
    return seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)


def draw(cumulated: Floats, random: np.random.RandomState) -> int:
    """Draw an index by inverting a cumulated distribution; rounding of the last entry does no harm."""
    return min(int(np.searchsorted(cumulated, random.rand(), side="right")), cumulated.size - 1)
