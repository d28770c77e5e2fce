"""Fonts for names in any script.

matplotlib's own font has no Chinese characters and would draw boxes in their place. Here the installed fonts are
asked which of them has what is missing; if none has, a warning says so, an SVG keeps the text as text, which the
reader's own fonts will show, and a PNG shows question marks.
"""

import contextlib
import functools
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["MISSING_FONT", "drawable", "families_for", "writing"]

BASE = "DejaVu Sans"
# Tried first, in this order; any other installed font that has the characters comes after them.
PREFERRED = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Microsoft YaHei",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Hiragino Sans GB", "SimHei", "Heiti SC", "Noto Sans CJK JP",
    "Arial Unicode MS", "Droid Sans Fallback",
)  # fmt: skip
# It draws a box for every character there is.
PLACEHOLDERS = ("Last Resort",)
MISSING_FONT = "no installed font has {characters}: install one, for example the package fonts-noto-cjk"


def families_for(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the fonts to draw `texts` with, in order of preference, and the characters that none of them has."""
    missing = {character for text in texts for character in text if character.isprintable()}
    families = [BASE]
    missing -= _covered(_base_file(), frozenset(missing))
    for family, file in _installed() if missing else ():
        found = _covered(file, frozenset(missing))
        if found:
            families.append(family)
            missing -= found
        if not missing:
            break
    return families, missing


@contextlib.contextmanager
def writing(texts: Iterable[str], *, keep_text: bool) -> Iterator[set[str]]:
    """Set matplotlib up to write `texts`, and give the characters that cannot be drawn.

    Args:
        texts: all that will be written.
        keep_text: characters without a font may stay text in the picture (an SVG).
    """
    import matplotlib

    families, missing = families_for(texts)
    if missing:
        characters = "".join(sorted(missing)[:8])
        warnings.warn(MISSING_FONT.format(characters=characters), stacklevel=6)
    as_text = bool(missing) and keep_text
    settings: Any = {
        "font.family": [*families, "sans-serif"] if as_text else families,
        "svg.fonttype": "none" if as_text else "path",
        "svg.hashsalt": "seqlab",
        "text.parse_math": False,  # a dollar in a name is a dollar
    }
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Said above, once, with advice.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        log.setLevel(logging.ERROR)  # a Chinese font may have one weight only, which is no news
        try:
            yield set() if keep_text else missing
        finally:
            log.setLevel(level)


def drawable(text: str, missing: set[str]) -> str:
    """Replace what cannot be drawn by question marks."""
    return "".join("?" if character in missing else character for character in text)


def _base_file() -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(BASE))


def _installed() -> list[tuple[str, str]]:
    """Return the upright fonts of normal weight by family, the preferred ones first."""
    from matplotlib import font_manager

    fonts: dict[str, str] = {}
    for font in font_manager.fontManager.ttflist:
        if not font.name.startswith(PLACEHOLDERS) and (font.name not in fonts or _plain(font)):
            fonts[font.name] = font.fname
    order = {family: place for place, family in enumerate(PREFERRED)}
    return sorted(fonts.items(), key=lambda font: (order.get(font[0], len(order)), font[0]))


def _plain(font: Any) -> bool:
    return font.style == "normal" and font.weight in ("normal", "regular", 400)


@functools.lru_cache(maxsize=256)
def _covered(file: str, characters: frozenset[str]) -> frozenset[str]:
    """Return those of the characters that a font file has."""
    from matplotlib.ft2font import FT2Font

    if not Path(file).exists():
        return frozenset()
    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):  # a format that FreeType cannot read
        return frozenset()
    return frozenset(character for character in characters if font.get_char_index(ord(character)))
