"""One setting's value: read from text, checked against its type, and the type's name for messages."""

import math
import re
import types
from typing import Any, Literal, Union, get_args, get_origin

from seqlab.errors import ConfigError

__all__ = ["check", "parse", "shown", "text_of", "type_name", "whole_number"]

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_WHOLE = re.compile(r"[+-]?[0-9]+")
_SHOWN_CHARS = 80


def type_name(kind: Any) -> str:
    """How messages and help call a type: `int`, `linear|cosine`, `int or none`, `list of int`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(str(choice) for choice in arguments)
    if _is_optional(kind):
        return f"{type_name(_inner(kind))} or none"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {type_name(arguments[0])}"
    if origin is tuple:
        return ",".join(type_name(argument) for argument in arguments)
    return str(kind.__name__)


def parse(name: str, kind: Any, text: str) -> Any:
    """Read a value of type `kind` from a command line's `text`.

    Raises:
        ConfigError: naming the setting, the expected type and what came.
    """
    origin = get_origin(kind)
    if _is_optional(kind):
        return None if text.lower() in ("none", "null") else parse(name, _inner(kind), text)
    if origin is Literal:
        return _choice(name, kind, text)
    if origin is tuple:
        parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        members = _members(name, kind, parts, text)
        return tuple(parse(name, member, part) for member, part in zip(members, parts, strict=True))
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise _wrong(name, "bool (true or false)", text)
        return _BOOLS[text.lower()]
    read = {int: whole_number, float: _real_number}.get(kind, kind)
    try:
        value = read(text)
    except ValueError:
        raise _wrong(name, type_name(kind), text) from None
    check(name, kind, value)
    return value


def check(name: str, kind: Any, value: object) -> None:
    """Check that `value` is a `kind`; an int passes as a float, a bool passes as neither.

    Raises:
        ConfigError: naming the setting, the expected type and what came.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if _is_optional(kind):
        if value is not None:
            check(name, _inner(kind), value)
        return
    if origin is Literal:
        if value not in arguments:
            raise _wrong(name, type_name(kind), value)
        return
    if origin is tuple:
        if not isinstance(value, tuple):
            raise _wrong(name, type_name(kind), value)
        for member, part in zip(_members(name, kind, value, value), value, strict=True):
            check(name, member, part)
        return
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(name, type_name(kind), value)
    if kind is float and not _is_finite(value):
        raise _wrong(name, "a finite number", value)


def whole_number(text: str) -> int:
    """`int`, but of plain digits only: neither `1_0` nor digits of other scripts.

    >>> whole_number("-12")
    -12

    Raises:
        ValueError: it is anything else, or thousands of digits long.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"not a whole number: {shown(text)}")
    return int(text)


def shown(value: object) -> str:
    """`value` as messages show it: its repr, cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 20]}… ({len(text)} characters)"


def text_of(value: object) -> object:
    """A default as help shows it: a tuple in the form that `parse` takes, anything else as it is."""
    return ",".join(str(member) for member in value) if isinstance(value, tuple) else value


def _real_number(text: str) -> float:
    if not text.isascii() or "_" in text:
        raise ValueError(f"not a number: {shown(text)}")
    return float(text)


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond the largest float
        return False


def _members(name: str, kind: Any, parts: Any, shown: object) -> list[Any]:
    """The type of each member of a tuple with `parts`."""
    arguments = get_args(kind)
    if arguments[-1] is Ellipsis:
        return [arguments[0]] * len(parts)
    if len(parts) != len(arguments):
        raise _wrong(name, f"{len(arguments)} values ({type_name(kind)})", shown)
    return list(arguments)


def _choice(name: str, kind: Any, text: str) -> Any:
    for choice in get_args(kind):
        if str(choice) == text:
            return choice
    raise _wrong(name, type_name(kind), text)


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _inner(kind: Any) -> Any:
    return next(argument for argument in get_args(kind) if argument is not type(None))


def _wrong(name: str, expected: str, came: object) -> ConfigError:
    return ConfigError(f"{name}: expected {expected}, got {shown(came)}")
