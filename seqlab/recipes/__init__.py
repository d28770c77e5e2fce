"""The recipes by name. Importing this package imports neither torch nor numpy.

A command checks a recipe's settings with `resolve` before it starts anything; the training process turns the
resolved configuration into a recipe with `build`. How to add one: docs/recipes.md.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqlab.errors import ConfigError
from seqlab.train.config import Key, apply_overrides, from_dict, keys, nearest, to_dict
from seqlab.train.values import shown

if TYPE_CHECKING:
    from seqlab.train.recipe import Recipe

__all__ = ["DEFAULT_SEED", "Description", "build", "describe", "names", "resolve", "resolve_saved"]

DEFAULT_SEED = 1


class Entry(NamedTuple):
    """Where a recipe's parts are, as `module:name`; both are imported only when asked for.

    `with_data` are the defaults that differ when a data file is given, as overrides.
    """

    summary: str
    config: str
    recipe: str
    with_data: tuple[str, ...] = ()


class Description(NamedTuple):
    """A recipe in one line, and its settings."""

    name: str
    summary: str
    keys: list[Key]


_RECIPES = {
    "tagger": Entry(
        "BiLSTM-CRF that tags every character, against a supervised HMM",
        "seqlab.recipes.tagger.config:TaggerConfig",
        "seqlab.recipes.tagger.recipe:TaggerRecipe",
        # A file is small beside the standard library. Chosen on the validation part of 500 Chinese sentences (UD
        # GSDSimp, dev), where they raise the F1 from 0.615 to 0.730.
        ("data.min_count=2", "encoder.dropout=0.5", "encoder.char_dropout=0.1", "loop.eval_every=50"),
    ),
}


def names() -> list[str]:
    """Every recipe's name."""
    return sorted(_RECIPES)


def describe(name: str) -> Description:
    """A recipe's summary and settings, for help.

    Raises:
        ConfigError: there is no such recipe.
    """
    entry = _entry(name)
    return Description(name, entry.summary, keys(_imported(entry.config)()))


def resolve(
    name: str, overrides: Sequence[str] = (), data: str | None = None, seed: int | None = None
) -> dict[str, Any]:
    """The whole configuration of a run as JSON values: `recipe`, `seed`, `data` and `settings`.

    `data` must be an existing file, or None for the recipe's own data; its absolute path is recorded. An override
    of `loop.epochs` without one of `loop.min_steps` means just so many epochs: it sets `loop.min_steps=0`.

    Raises:
        ConfigError: an unknown recipe or setting, a wrong value, or no such data file.
    """
    entry = _entry(name)
    given = {override.partition("=")[0].strip() for override in overrides}
    implied = ["loop.min_steps=0"] if "loop.epochs" in given and "loop.min_steps" not in given else []
    defaults = entry.with_data if data is not None else ()
    config = apply_overrides(_imported(entry.config)(), [*defaults, *implied, *overrides])
    return {
        "recipe": name,
        "seed": _checked_seed(DEFAULT_SEED if seed is None else seed),
        "data": None if data is None else _checked_data(data),
        "settings": to_dict(config),
    }


def resolve_saved(saved: object) -> dict[str, Any]:
    """Check a configuration that `resolve` made earlier and that was kept as JSON.

    Raises:
        ConfigError: it does not fit the recipe.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("recipe"), str):
        raise ConfigError("expected a resolved configuration: an object with recipe, seed, data and settings")
    unknown = sorted(set(saved) - {"recipe", "seed", "data", "settings"})
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}{nearest(unknown[0], ['recipe', 'seed', 'data', 'settings'])}")
    name, data = saved["recipe"], saved.get("data")
    config = from_dict(_imported(_entry(name).config), saved.get("settings", {}))
    if data is not None and not isinstance(data, str):
        raise ConfigError(f"data: expected a path or null, got {data!r}")
    return {
        "recipe": name,
        "seed": _checked_seed(saved.get("seed", DEFAULT_SEED)),
        "data": None if data is None else _checked_data(data),
        "settings": to_dict(config),
    }


def build(resolved: dict[str, Any]) -> "Recipe[Any]":
    """The recipe of a resolved configuration; this imports torch."""
    entry = _entry(resolved["recipe"])
    config = from_dict(_imported(entry.config), resolved["settings"])
    data = None if resolved["data"] is None else Path(resolved["data"])
    recipe: Recipe[Any] = _imported(entry.recipe)(config, data=data, seed=resolved["seed"])
    return recipe


def _entry(name: str) -> Entry:
    if name not in _RECIPES:
        raise ConfigError(f"unknown recipe {shown(name)}{nearest(name, names())}")
    return _RECIPES[name]


def _imported(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _checked_seed(seed: object) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed: expected an int from 0 to 2^63 - 1, got {shown(seed)}")
    return seed


def _checked_data(data: str) -> str:
    path = Path(data).expanduser()
    try:
        exists = path.exists()
    except OSError as error:
        raise ConfigError(f"data file {shown(data)} cannot be read: {error.strerror}") from error
    if not exists:
        raise ConfigError(
            f"data file {shown(data)} does not exist: check the path, or leave it out for the default data"
        )
    if not path.is_file():
        raise ConfigError(f"data {shown(data)} is not a file: give the path of one file")
    return str(path.resolve())
