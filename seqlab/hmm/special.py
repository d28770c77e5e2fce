"""The gamma function's logarithm and its derivative, by torch, for numpy arrays."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike

from seqlab.hmm.inputs import Floats

__all__ = ["digamma", "gammaln"]


def gammaln(x: ArrayLike) -> Floats:
    """Return log Γ(x)."""
    return _apply(torch.special.gammaln, x)


def digamma(x: ArrayLike) -> Floats:
    """Return d/dx log Γ(x)."""
    return _apply(torch.special.digamma, x)


def _apply(function: Callable[[torch.Tensor], torch.Tensor], x: ArrayLike) -> Floats:
    values = np.asarray(x, dtype=np.float64)
    result: Floats = function(torch.from_numpy(np.ascontiguousarray(values))).numpy()
    return result.reshape(values.shape)
