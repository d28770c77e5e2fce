"""The command line of `python -m seqlab.train`: arguments, exit codes, messages.

Exit codes: 0 finished, 1 failed, 2 configuration, data or checkpoints refused (resuming cannot help), 130 and 143
stopped by a signal.
"""

import argparse
import contextlib
import json
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqlab import recipes
from seqlab.errors import ConfigError, SeqlabError
from seqlab.files import describe_os_error, replace_json
from seqlab.train.progress import Progress
from seqlab.train.signals import StopRequest, StopSignals
from seqlab.train.values import whole_number

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one recipe; return the exit code."""
    options = _parser().parse_args(arguments)
    with StopSignals() as signals:
        try:
            if options.list:
                print(_help_text(options.recipe), flush=True)
            else:
                _train(options, signals)
        except StopRequest as request:
            print(f"{request.name}: stopped; the same command goes on from here", flush=True)
            return request.exit_code
        except SeqlabError as error:
            return _fail(error, options.debug)
        except BrokenPipeError as error:
            _discard_output()
            return 0 if options.list else _fail(describe_os_error(error, "training"), options.debug)
        except OSError as error:
            return _fail(describe_os_error(error, "training"), options.debug)
        # The last resort, broad on purpose: whoever trains gets a sentence, whoever debugs asks for the stack trace.
        except Exception as error:
            return _fail(error, options.debug)
    return 0


def _train(options: argparse.Namespace, signals: StopSignals) -> None:
    resolved = _resolved(options)
    if options.out is None:
        raise ConfigError("no folder given: add --out DIR, for example --out runs/first")
    out = Path(options.out)
    _prepare_folder(out, resolved)
    progress = Progress(out / "progress.json", shown=("train/loss", "valid/f1"))
    progress.say(f"recipe {resolved['recipe']}, seed {resolved['seed']}, folder {out}")
    # On a machine others use too, OpenMP threads that spin long while they wait for one another make a step take
    # 15 times as long; a short spin costs nothing measurable on a quiet one. Read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # torch takes seconds to import: only now that the configuration is known to be right.
    from seqlab.train.loop import run

    run(recipes.build(resolved), seed=resolved["seed"], out=out, progress=progress, signals=signals)
    progress.say(f"finished: {out / 'report.json'}")


def _resolved(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration from the options, or from --config."""
    if options.config is None:
        if options.recipe is None:
            raise ConfigError(
                f"no recipe given: python -m seqlab.train RECIPE --out DIR, with RECIPE one of "
                f"{', '.join(recipes.names())}"
            )
        return recipes.resolve(options.recipe, options.set, options.data, options.seed)
    if options.set or options.data is not None or options.seed is not None:
        raise ConfigError("--config already holds all settings: leave out --set, --data and --seed")
    resolved = recipes.resolve_saved(_read_json(Path(options.config)))
    if options.recipe not in (None, resolved["recipe"]):
        raise ConfigError(f"--config is for the recipe {resolved['recipe']}, not {options.recipe}")
    return resolved


def _prepare_folder(out: Path, resolved: dict[str, Any]) -> None:
    """Make the folder and its config.json; refuse one that belongs to another configuration."""
    path = out / "config.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            replace_json(path, resolved)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    saved = _read_json(path)
    if saved != resolved:
        raise ConfigError(
            f"{out} holds a run with another configuration ({_difference(saved, resolved)}): "
            f"repeat its settings (--config {path}) to resume it, or choose another --out"
        )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def _difference(saved: Any, wanted: Any, name: str = "") -> str:
    """The first setting in which two configurations differ."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in [*saved, *(key for key in wanted if key not in saved)]:
            if saved.get(key) != wanted.get(key):
                return _difference(saved.get(key), wanted.get(key), f"{name}.{key}" if name else key)
    return f"{name.removeprefix('settings.')}: there {saved!r}, now {wanted!r}"


def _fail(error: Exception, debug: bool) -> int:
    """Report `error` on stderr; return the exit code."""
    if debug:
        traceback.print_exception(error)
    elif isinstance(error, SeqlabError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    else:
        told = textwrap.shorten(str(error), 300, placeholder=" …")  # on one line
        print(f"error: {type(error).__name__}: {told}; add --debug for the stack trace", file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, SeqlabError) else 1


def _discard_output() -> None:
    """Send stdout nowhere: its reader (`| head`) has gone, and the flush at the interpreter's end would fail too."""
    with contextlib.suppress(OSError, ValueError):  # no stdout at all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _help_text(recipe: str | None) -> str:
    """All recipes in a line each, or one recipe's settings."""
    if recipe is None:
        return "\n".join(f"{name:12} {recipes.describe(name).summary}" for name in recipes.names())
    description = recipes.describe(recipe)
    lines = [f"{description.name}: {description.summary}", ""]
    for key in description.keys:
        lines.append(f"  {key.name:24} {key.help} ({key.type}, default {key.default})")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m seqlab.train",
        description="Train a recipe in a folder; on a folder with checkpoints, go on from the newest.",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=f"one of {', '.join(recipes.names())}")
    parser.add_argument("--out", metavar="DIR", help="the run's folder")
    parser.add_argument("--data", metavar="PATH", help="a data file; left out, the recipe's own data")
    parser.add_argument("--seed", type=whole_number, metavar="N", help=f"default {recipes.DEFAULT_SEED}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; repeatable")
    parser.add_argument("--config", metavar="FILE", help="a resolved config.json, instead of --set, --data, --seed")
    parser.add_argument("--list", action="store_true", help="list the recipes, or the settings of RECIPE, and end")
    parser.add_argument("--debug", action="store_true", help="show a stack trace with an error")
    return parser
