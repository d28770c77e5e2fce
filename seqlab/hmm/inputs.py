"""Observations as they come in: rows, sequences, what is missing and which states are known."""

from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError

__all__ = [
    "Floats",
    "Ints",
    "Mask",
    "Observations",
    "as_array",
    "check_integer",
    "check_smoothing",
    "integer_rows",
    "real_rows",
    "sequence_sizes",
    "state_labels",
]

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]


class Observations(NamedTuple):
    """Checked observations of S sequences behind one another, N rows in all.

    Attributes:
        values: (N, D), 0 in missing rows.
        missing: (N,), True where nothing was observed; None: nothing is missing.
        sizes: (S,), rows of each sequence.
        states: (N,), the known states, −1 where unknown; None: none is known.
    """

    values: NDArray[Any]
    missing: Mask | None
    sizes: Ints
    states: Ints | None = None

    @property
    def present(self) -> NDArray[Any]:
        """The observed rows."""
        return self.values if self.missing is None else self.values[~self.missing]

    @property
    def firsts(self) -> Ints:
        """Where each non-empty sequence begins."""
        return (np.cumsum(self.sizes) - self.sizes)[self.sizes > 0]

    @property
    def lasts(self) -> Ints:
        """Where each non-empty sequence ends: its last row."""
        return (np.cumsum(self.sizes) - 1)[self.sizes > 0]


def as_array(values: ArrayLike, name: str, dtype: type[np.float64] | None = None) -> NDArray[Any]:
    """Return values as an array, of `dtype` if given.

    Raises:
        ShapeError: they are ragged, or none of that type.
    """
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        expected = "an array" if dtype is None else "an array of numbers"
        raise ShapeError(f"{name} must be {expected}, got a {type(values).__name__} that is none: {error}") from None


def check_integer(value: Any, name: str, lowest: int, highest: int | None = None) -> None:
    """Raise ShapeError if a value is no integer in `lowest` … `highest`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < lowest or (highest is not None and value > highest):
        wanted = f"an integer, at least {lowest}" if highest is None else f"an integer in {lowest} … {highest}"
        raise ShapeError(f"{name} must be {wanted}, got {value!r}")


def check_smoothing(value: Any, name: str) -> None:
    """Raise ShapeError if a value is no finite number ≥ 0."""
    if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
        raise ShapeError(f"{name} must be a number, 0 ≤ {name} < inf, got {value!r}")


def sequence_sizes(lengths: ArrayLike | None, n_samples: int) -> Ints:
    """Return the lengths, (S,); None is one sequence.

    Raises:
        ShapeError: they are not integers ≥ 0 that add up to `n_samples`.
    """
    sizes = np.atleast_1d(as_array(n_samples if lengths is None else lengths, "lengths"))
    if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
        raise ShapeError(f"lengths must be integers ≥ 0, got {lengths!r}")
    if sizes.sum() != n_samples:
        raise ShapeError(f"lengths must add up to {n_samples} samples, got a sum of {sizes.sum()}")
    return sizes.astype(np.int64)


def real_rows(X: ArrayLike) -> tuple[Floats, Mask | None]:
    """Return real-valued rows (N, D), and which are missing: NaN, or masked, in every column.

    Raises:
        ShapeError: the shape or type is wrong, a number is infinite, or a row is missing in some columns only.
    """
    values = X if isinstance(X, np.ma.MaskedArray) else as_array(X, "X")
    _check_table(values, "(n_samples, n_features)")
    if values.dtype.kind not in "fiub":
        raise ShapeError(f"X must hold real numbers, got {values.dtype}")
    rows: Floats = np.asarray(values, dtype=np.float64)
    if isinstance(values, np.ma.MaskedArray):
        rows = np.ma.filled(values.astype(np.float64), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(rows.sum()):  # one cheap pass in the usual case
            return rows, None
    if np.isinf(rows).any():
        raise ShapeError(f"X must be finite, got infinity in row {np.isinf(rows).any(axis=1).argmax()}")
    absent = np.isnan(rows)
    missing: Mask = np.asarray(absent.all(axis=1))
    if (absent.any(axis=1) != missing).any():
        row = (absent.any(axis=1) & ~missing).argmax()
        raise ShapeError(f"X must be NaN in all columns of a row or in none, got {rows[row]} in row {row}")
    return (np.where(absent, 0.0, rows), missing) if missing.any() else (rows, None)


def integer_rows(X: ArrayLike, columns: str) -> tuple[Ints, Mask | None]:
    """Return integer rows (N, D), and which are masked. A single column may come as (n_samples,).

    Raises:
        ShapeError: the shape or type is wrong, or a row is masked in some columns only.
    """
    mask = np.ma.getmaskarray(np.ma.asarray(X)) if np.ma.isMaskedArray(X) else None
    values = np.ma.asarray(X).filled(0) if mask is not None else as_array(X, "X")
    if values.ndim == 1 and columns == "1":
        values, mask = values[:, None], None if mask is None else mask[:, None]
    _check_table(values, f"(n_samples, {columns})")
    if columns == "1" and values.shape[1] != 1:
        raise ShapeError(f"X must have shape (n_samples, 1) with samples, got {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise ShapeError(f"Symbols should be integers, got {values.dtype}: mask what is missing (numpy.ma)")
    rows = values.astype(np.int64, copy=False)
    if mask is None or not mask.any():
        return rows, None
    missing: Mask = np.asarray(mask.all(axis=1))
    if (mask.any(axis=1) != missing).any():
        raise ShapeError("X must be masked in all columns of a row or in none")
    return rows, missing


def _check_table(values: NDArray[Any], shape: str) -> None:
    if values.ndim != 2 or 0 in values.shape:
        raise ShapeError(f"X must have shape {shape} with samples, got {values.shape}")


def state_labels(states: ArrayLike, n_samples: int, num_states: int, *, lowest: int) -> Ints:
    """Return known states as (N,) integers in `lowest` … K − 1.

    Raises:
        ShapeError: their number, type or range is wrong.
    """
    labels = as_array(states, "states").reshape(-1)
    if labels.shape != (n_samples,) or not np.issubdtype(labels.dtype, np.integer):
        raise ShapeError(f"states must be {n_samples} integers, got {labels.size} of {labels.dtype}")
    if labels.size and not lowest <= labels.min() <= labels.max() < num_states:
        raise ShapeError(f"states must lie in {lowest} … {num_states - 1}, got {labels.min()} … {labels.max()}")
    return labels.astype(np.int64)
