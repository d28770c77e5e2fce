"""Random numbers that depend on where they are used, not on when: Philox 4x32-10 (Salmon et al. 2011).

A counter-based generator is a function, not a state. It scrambles a counter of four 32-bit words under a key of
two; each of its ten rounds is

    c0, c1, c2, c3  ←  hi(M1·c2) ⊕ c1 ⊕ k0,  lo(M1·c2),  hi(M0·c0) ⊕ c3 ⊕ k1,  lo(M0·c0)
    k0, k1          ←  k0 + W0,  k1 + W1                                              (all modulo 2³²)

Here the key is the seed and the counter is (step, sample, row, 0). So the number for a step of a row's sample
is the same whatever the number of threads, the padding of the batch, the order of the work, or the backend.

Salmon, Moraes, Dror and Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

import operator

import torch
from torch import Tensor

from seqlab.errors import ShapeError

__all__ = ["M0", "M1", "W0", "W1", "philox", "seed_number", "uniform"]

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF


def seed_number(seed: int | torch.Generator | None) -> int:
    """Return the 64-bit key that `seed` stands for.

    Args:
        seed: an integer, taken modulo 2⁶⁴; a generator, from which one number is drawn; or None, which draws
            from torch's global generator, so that `torch.manual_seed` makes a run repeatable.

    Raises:
        ShapeError: `seed` is something else.
    """
    if seed is None or isinstance(seed, torch.Generator):
        device = "cpu" if seed is None else seed.device
        drawn = torch.randint(0, 2**32, (2,), generator=seed, device=device).tolist()
        return int(drawn[0]) << 32 | int(drawn[1])
    try:
        return operator.index(seed) % 2**64
    except TypeError:
        raise ShapeError(f"seed must be an int, a torch.Generator or None, got {type(seed).__name__}") from None


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four random 32-bit words for each counter.

    Args:
        counter: four int64 tensors of words in 0 … 2³² − 1, of shapes that broadcast.
        key: in 0 … 2⁶⁴ − 1; its low word is k0.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key & WORD, key >> 32
    for _ in range(10):
        # int64 products wrap around, and all 64 bits are right: shift with sign, then keep the low word.
        first, second = c0 * M0, c2 * M1
        c0, c1 = (second >> 32 & WORD) ^ c1 ^ k0, second & WORD
        c2, c3 = (first >> 32 & WORD) ^ c3 ^ k1, first & WORD
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return c0, c1, c2, c3


def uniform(seed: int, steps: Tensor, samples: Tensor, rows: Tensor) -> Tensor:
    """Return float64 numbers in [0, 1) with 53 random bits, one for each (step, sample, row).

    Args:
        seed: in 0 … 2⁶⁴ − 1.
        steps, samples, rows: int64, each in 0 … 2³² − 1, of shapes that broadcast.
    """
    high, low, _, _ = philox((steps, samples, rows, torch.zeros_like(rows)), seed)
    return ((high >> 5) * 2**26 + (low >> 6)).double() * 2.0**-53
