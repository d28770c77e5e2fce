"""Checks that a person's settings are of the types that they are declared with."""

import dataclasses
import numbers
from typing import Any

from seqlab.errors import ConfigError

__all__ = ["check_types"]

EXPECTED = {int: "an integer", float: "a number", bool: "True or False"}


def check_types(settings: Any) -> None:
    """Check a dataclass's integers, numbers and booleans; numpy's become Python's, even in a frozen one.

    Raises:
        ConfigError: it names the first field of another type.
    """
    for field in dataclasses.fields(settings):
        value, kind = getattr(settings, field.name), field.type
        if kind not in EXPECTED:
            continue
        truth = type(value).__name__ in ("bool", "bool_")
        right = (
            truth
            if kind is bool
            else not truth and isinstance(value, numbers.Integral if kind is int else numbers.Real)
        )
        if not right:
            raise ConfigError(f"{field.name} must be {EXPECTED[kind]}, got {value!r}")
        try:
            object.__setattr__(settings, field.name, kind(value))
        except OverflowError as error:
            raise ConfigError(f"{field.name} must be {EXPECTED[kind]}, got one that is too large") from error
