"""Checks of a CRF's arguments: whole numbers, and tensors."""

import operator
from typing import Any

from torch import Tensor

from seqlab.errors import ShapeError

__all__ = ["check_tensor", "positive", "whole"]


def whole(name: str, value: Any) -> int:
    """Return a whole number of any type (Python's, NumPy's, a tensor's) as an int.

    Raises:
        ShapeError: it is none, or True or False; the message calls it `name`.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ShapeError(f"{name} must be an integer, got {value!r}")


def positive(name: str, value: Any, title: str) -> int:
    """Return a size, at least 1, as an int.

    Raises:
        ShapeError: it is no integer, or not positive: "invalid `title`: 0".
    """
    size = whole(name, value)
    if size <= 0:
        raise ShapeError(f"invalid {title}: {size}")
    return size


def check_tensor(name: str, value: Any) -> None:
    """Raise a ShapeError unless `value` is a tensor."""
    if not isinstance(value, Tensor):
        raise ShapeError(f"{name} must be a tensor, got {type(value).__name__}")
