"""The helpers of `hmmlearn.utils`, which change their argument."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlab.hmm.covariances import fill_covars

__all__ = ["fill_covars", "log_normalize", "normalize"]


def normalize(a: NDArray[Any], axis: int | None = None) -> None:
    """Divide an array by its sum along an axis, in place; None: by the sum of all. What sums to 0 stays as it is."""
    totals = a.sum(axis=axis, keepdims=True)
    a /= np.where(totals == 0, 1.0, totals)


def log_normalize(a: NDArray[Any], axis: int | None = None) -> None:
    """Subtract log Σ exp(a) along an axis, in place. A row of −inf stays as it is."""
    top = a.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", under="ignore"):
        totals = np.log(np.exp(a - top).sum(axis=axis, keepdims=True)) + top
    a -= np.where(np.isfinite(totals), totals, 0.0)
