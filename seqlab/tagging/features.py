"""Hand features as CRFsuite's users write them: for every token a list of strings.

A string names a property that the token has, mostly "what=value"; the model learns a weight for every string and
tag. Any function from a sentence to one list of strings (or one dict, see `seqlab.tagging.attributes`) for each
token can take the place of these two.
"""

import functools
import unicodedata
from collections.abc import Sequence

__all__ = ["character_features", "character_type", "word_features", "word_shape"]

BEFORE, AFTER = "<s>", "</s>"  # what stands before the first and after the last token
_NUMERALS = frozenset("〇零一二三四五六七八九十百千万亿萬億兩两")
_DATES = frozenset("年月日时時分秒")


@functools.lru_cache(maxsize=65_536)
def character_type(character: str) -> str:
    """Return the type of a character: n numeral, t of a date, c Chinese, u upper, l lower case, d digit, p mark, o.

    >>> "".join(character_type(character) for character in "三年级A1。")
    'ntcudp'
    """
    if character in _NUMERALS:
        return "n"
    if character in _DATES:
        return "t"
    category = unicodedata.category(character) if len(character) == 1 else "--"
    by_category = {"Lo": "c", "Lu": "u", "Ll": "l", "Nd": "d"}
    return by_category.get(category, "p" if category[0] in "PS" else "o")


@functools.lru_cache(maxsize=65_536)
def word_shape(word: str) -> str:
    """Return the types of the characters, runs of one type as one.

    >>> word_shape("McDonald2024"), word_shape("第三届")
    ('ululd', 'cnc')
    """
    types = [character_type(character) for character in word]
    return "".join(kind for kind, before in zip(types, ["", *types], strict=False) if kind != before)


def word_features(words: Sequence[str]) -> list[list[str]]:
    """Describe each word by itself, its ends, its shape and its neighbours.

    The word, prefixes and suffixes of up to three characters, length, shape, each of its characters; words up to
    two places away, pairs of neighbours, and the neighbours' shapes, first and last characters (Ratnaparkhi 1996,
    table 1, extended).

    Args:
        words: one sentence.

    Returns:
        A list of strings for each word.
    """
    around = [BEFORE, BEFORE, *words, AFTER, AFTER]
    described = []
    for i, word in enumerate(words):
        w2, w1, _, n1, n2 = around[i : i + 5]
        shape = word_shape(word)
        found = [
            "bias", f"w={word}", f"shape={shape}", f"length={min(len(word), 5)}",
            f"w-1={w1}", f"w+1={n1}", f"w-2={w2}", f"w+2={n2}", f"w-1w={w1}|{word}", f"ww+1={word}|{n1}",
            f"w-1w+1={w1}|{n1}", f"shape-1={word_shape(w1)}|{shape}", f"shape+1={shape}|{word_shape(n1)}",
            f"last-1={w1[-1:]}", f"first+1={n1[:1]}", f"last+1={n1[-1:]}",
        ]  # fmt: skip
        for n in range(1, min(len(word), 3) + 1):
            found += [f"prefix={word[:n]}", f"suffix={word[-n:]}"]
        found += [f"has={character}" for character in word]
        described.append(found)
    return described


def character_features(characters: Sequence[str]) -> list[list[str]]:
    """Describe each character of a sentence that is to be cut into words.

    Characters up to two places away, pairs and triples around the place, repetitions, and types of characters
    (Zhao, Huang, Li and Lu 2010, "A unified character-based tagging framework for Chinese word segmentation").

    Args:
        characters: one sentence: a string, or its characters.

    Returns:
        A list of strings for each character.
    """
    around = [BEFORE, BEFORE, *characters, AFTER, AFTER]
    types = [character_type(character) for character in around]
    described = []
    for i in range(len(characters)):
        a, b, c, d, e = around[i : i + 5]
        v, w, x, y, z = types[i : i + 5]
        described.append([
            "bias", f"c-2={a}", f"c-1={b}", f"c={c}", f"c+1={d}", f"c+2={e}",
            f"c-2c-1={a}{b}", f"c-1c={b}{c}", f"cc+1={c}{d}", f"c+1c+2={d}{e}", f"c-1c+1={b}{d}",
            f"c-1cc+1={b}{c}{d}", f"same-1={b == c}", f"same-2={a == c}", f"same+1={c == d}", f"same+2={c == e}",
            f"t={x}", f"t-1t={w}{x}", f"tt+1={x}{y}", f"t-1tt+1={w}{x}{y}", f"t5={v}{w}{x}{y}{z}",
        ])  # fmt: skip
    return described
