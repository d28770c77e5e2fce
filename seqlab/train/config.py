"""Settings as frozen dataclasses: described, overridden from `key=value` text, checked.

A recipe's config is a tree of frozen dataclasses. Each leaf is an int, float, bool, str, `X | None`, `Literal`
or tuple, and is declared with `setting`, which adds its help and its range:

    @dataclass(frozen=True)
    class EncoderConfig:
        hidden: int = setting(128, "units per direction", above=0)

Importing this module imports neither torch nor numpy, so that a command can check settings before it starts.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_type_hints

from seqlab.errors import ConfigError
from seqlab.train.values import check, parse, shown, text_of, type_name

__all__ = ["Key", "LoopConfig", "apply_overrides", "from_dict", "keys", "nearest", "setting", "to_dict", "validate"]

C = TypeVar("C")
T = TypeVar("T")


class Key(NamedTuple):
    """One setting, as `describe` shows it; a tuple's default is text in the form that an override takes."""

    name: str
    type: str
    default: object
    help: str


def setting(
    default: T,
    text: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> T:
    """A dataclass field with its help and range; the bounds hold for every member of a tuple too."""
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    metadata = {"help": text, "bounds": {name: bound for name, bound in bounds.items() if bound is not None}}
    return field(default=default, metadata=metadata)


def keys(config: Any, prefix: str = "") -> list[Key]:
    """Every leaf setting of `config` in order of declaration, groups as dotted names, its values as defaults."""
    found = []
    for item, kind in _typed_fields(type(config)):
        value = getattr(config, item.name)
        if is_dataclass(kind):
            found += keys(value, f"{prefix}{item.name}.")
        else:
            found.append(Key(prefix + item.name, type_name(kind), text_of(value), item.metadata.get("help", "")))
    return found


def apply_overrides(config: C, overrides: Sequence[str]) -> C:
    """A copy of `config` with each `key=value` of `overrides` applied in order, then validated.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a wrong type or a value out of range.
    """
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, got {shown(override)}: write for example --set loop.lr=0.001")
        name = name.strip()
        config = _replaced(config, name.split("."), name, text.strip())
    validate(config)
    return config


def validate(config: Any, prefix: str = "") -> None:
    """Check every leaf's type and range.

    Raises:
        ConfigError: naming the key, what was expected and what came.
    """
    for item, kind in _typed_fields(type(config)):
        name, value = prefix + item.name, getattr(config, item.name)
        if is_dataclass(kind):
            validate(value, f"{name}.")
        else:
            check(name, kind, value)
            _check_bounds(name, value, item.metadata.get("bounds", {}))


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain JSON values; tuples become lists."""
    result: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            value = to_dict(value)
        result[item.name] = list(value) if isinstance(value, tuple) else value
    return result


def from_dict(config_type: type[C], data: object) -> C:
    """The config that `to_dict` wrote; a key that is missing takes its default.

    Raises:
        ConfigError: an unknown key, a wrong type or a value out of range.
    """
    config = _updated(config_type(), data, "")
    validate(config)
    return config


def _updated(config: C, data: object, prefix: str) -> C:
    """A copy of `config` with the values of `data`, group by group."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'settings'}: expected an object, got {type(data).__name__}")
    values: dict[str, Any] = {}
    kinds = {item.name: kind for item, kind in _typed_fields(type(config))}
    for name, value in data.items():
        if name not in kinds:
            raise ConfigError(_unknown(prefix + str(name), [prefix + known for known in kinds]))
        if is_dataclass(kinds[name]):
            value = _updated(getattr(config, name), value, f"{prefix}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    return cast(C, replace(cast(Any, config), **values))


def nearest(name: str, known: Sequence[str]) -> str:
    """'; did you mean …?' with the known name most like `name`, or every known name when none is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _typed_fields(config_type: type[Any]) -> Iterator[tuple[Field[Any], Any]]:
    hints = get_type_hints(config_type)
    for item in fields(config_type):
        if not is_dataclass(hints[item.name]) and item.default is MISSING:
            raise TypeError(f"{config_type.__name__}.{item.name} has no default: declare it with setting()")
        yield item, hints[item.name]


def _replaced(config: C, path: list[str], full_name: str, text: str) -> C:
    """`config` with the leaf at `path` parsed from `text`; the groups on the way are copied."""
    kinds = {item.name: kind for item, kind in _typed_fields(type(config))}
    head, rest = path[0], path[1:]
    prefix = full_name[: len(full_name) - len(".".join(path))]
    kind = kinds.get(head)
    if kind is None or (rest and not is_dataclass(kind)):
        # The top level is not known here, so the near names are those of this group and below.
        raise ConfigError(_unknown(full_name, [prefix + key.name for key in keys(config)]))
    if is_dataclass(kind):
        if not rest:
            members = ", ".join(key.name for key in keys(getattr(config, head), f"{full_name}."))
            raise ConfigError(f"{full_name} is a group of settings: set one of {members}")
        value = _replaced(getattr(config, head), rest, full_name, text)
    else:
        value = parse(full_name, kind, text)
    return cast(C, replace(cast(Any, config), **{head: value}))


def _unknown(name: str, known: Sequence[str]) -> str:
    return f"unknown setting {shown(name)}{nearest(name, known)}"


def _check_bounds(name: str, value: object, bounds: Mapping[str, float]) -> None:
    holds = {
        "above": lambda number, bound: number > bound,
        "at least": lambda number, bound: number >= bound,
        "below": lambda number, bound: number < bound,
        "at most": lambda number, bound: number <= bound,
    }
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not all(holds[kind](number, bound) for kind, bound in bounds.items()):
            wanted = " and ".join(f"{kind} {bound}" for kind, bound in bounds.items())
            raise ConfigError(f"{name}: expected a value {wanted}, got {shown(number)}")


@dataclass(frozen=True)
class LoopConfig:
    """How any recipe is trained."""

    epochs: int = setting(4, "passes over the training data", above=0, at_most=10**6)
    min_steps: int = setting(0, "on small data, add epochs until there are this many steps", at_least=0, at_most=10**9)
    max_steps: int | None = setting(None, "end after this many steps, even within an epoch", above=0, at_most=10**9)
    lr: float = setting(0.003, "highest learning rate", above=0)
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay", at_least=0)
    warmup: float = setting(0.05, "share of the steps in which the rate rises", at_least=0, below=1)
    schedule: Literal["linear", "cosine", "constant"] = setting("cosine", "how the rate falls after the warm-up")
    clip: float = setting(5.0, "largest gradient norm; 0 leaves gradients alone", at_least=0)
    log_every: int = setting(20, "steps between two lines of train/loss", above=0, at_most=10**9)
    eval_every: int = setting(200, "steps between two evaluations on the validation part", above=0, at_most=10**9)
    patience: int = setting(0, "evaluations without a better score before it stops early; 0 never", at_least=0)
    checkpoint_s: float = setting(20.0, "seconds between two checkpoints; 0 after every step", at_least=0)
    threads: int = setting(2, "CPU threads; another number may round differently", above=0, at_most=1024)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto takes the GPU when torch sees one")
