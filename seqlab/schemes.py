"""Label schemes: how tags such as `B-PER`, `I-PER`, `O` mark segments of a sequence.

A tag is `O`, or a position and a type joined by a hyphen; the type may be missing (`B M E S` of word segmentation).
What a position says is whether a segment begins with it and whether one ends with it; some leave that open:

    scheme   positions   begins          ends
    BIO      B I         B yes, I no     open: the next tag tells
    IOB1     I B         I open, B yes   open; B only where a segment of the same type ends right before
    BIOES    B I E S     B yes, I no, E no, S yes     B no, I no, E yes, S yes
    IOE2     I E         open            I no, E yes

BMES, BMEWO and BILOU are BIOES in other letters: M is I, L is E, U and W are S. An `O` begins and ends by itself.

Sources: Ramshaw and Marcus, "Text Chunking using Transformation-Based Learning" (1995); Tjong Kim Sang and
Veenstra, "Representing Text Chunks" (1999); Ratinov and Roth, "Design Challenges and Misconceptions in Named
Entity Recognition" (2009).
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from seqlab.errors import ShapeError

__all__ = ["SCHEMES", "Part", "goes_on", "guess_scheme", "may_follow", "parse", "scheme_name"]

YES, NO, OPEN = (True,), (False,), (True, False)
LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
# scheme: {position: (does a segment begin here?, does one end here?)}
SCHEMES: dict[str, dict[str, tuple[tuple[bool, ...], tuple[bool, ...]]]] = {
    "BIO": {"B": (YES, OPEN), "I": (NO, OPEN)},
    "IOB1": {"B": (YES, OPEN), "I": (OPEN, OPEN)},
    "BIOES": {"B": (YES, NO), "I": (NO, NO), "E": (NO, YES), "S": (YES, YES)},
    "IOE2": {"I": (OPEN, NO), "E": (OPEN, YES)},
}
ALIASES = {"IOB2": "BIO", "IOBES": "BIOES", "BMES": "BIOES", "BMEWO": "BIOES", "BILOU": "BIOES"}


class Part(NamedTuple):
    """A tag taken apart.

    Attributes:
        position: B, I, E, S, or O.
        kind: the type, "" if there is none.
        begins: the possible answers to "does a segment begin here?".
        ends: the possible answers to "does one end here?".
    """

    position: str
    kind: str
    begins: tuple[bool, ...]
    ends: tuple[bool, ...]


def scheme_name(scheme: str) -> str:
    """Return the name under which `SCHEMES` holds `scheme`.

    Raises:
        ShapeError: there is no such scheme.
    """
    name = ALIASES.get(scheme, scheme)
    if name not in SCHEMES:
        raise ShapeError(f"scheme must be one of {', '.join([*SCHEMES, *ALIASES])}, got {scheme!r}")
    return name


def guess_scheme(labels: Iterable[str]) -> str:
    """Return the scheme that these labels belong to, judged by their positions alone.

    E, S or their other letters tell BIOES, unless only I and E occur (IOE2); I alone tells IOB1; everything else
    is BIO. IOB1 with a B looks like BIO: name it.

    Raises:
        ShapeError: a label has no position.
    """
    positions = {_position_and_kind(label)[0] for label in labels} - {"O"}
    if positions == {"I", "E"} or positions == {"E"}:
        return "IOE2"
    if positions & {"E", "S"}:
        return "BIOES"
    return "IOB1" if positions == {"I"} else "BIO"


def parse(label: str, scheme: str) -> Part:
    """Take a label apart.

    Raises:
        ShapeError: the label is of another form, or its position is not one of the scheme's.
    """
    position, kind = _position_and_kind(label)
    if position == "O":
        return Part("O", "", YES, YES)
    positions: Collection[str] = SCHEMES[scheme]
    if position not in positions:
        named = ", ".join(positions)
        raise ShapeError(f"labels of scheme {scheme} must be O or have a position of {named}, got {label!r}")
    return Part(position, kind, *SCHEMES[scheme][position])


def goes_on(before: Part, after: Part) -> bool:
    """Tell whether the segment of `before` can go on with `after` right behind it."""
    inside = "O" not in (before.position, after.position)
    return inside and before.kind == after.kind and False in before.ends and False in after.begins


def may_follow(before: Part, after: Part, scheme: str) -> bool:
    """Tell whether `after` may stand right after `before`: a segment goes on, or one ends and the next begins."""
    if scheme == "IOB1" and after.position == "B":
        return before.position != "O" and before.kind == after.kind
    return goes_on(before, after) or (True in before.ends and True in after.begins)


def _position_and_kind(label: str) -> tuple[str, str]:
    """Split `B-PER` into ("B", "PER"); the letters of other schemes become those of BIOES."""
    if label == "O":
        return "O", ""
    letter, _, kind = label.partition("-")
    if letter not in LETTERS:
        raise ShapeError(f"labels must look like O, B-X, I-X, E-X, S-X (or with M, L, U, W), got {label!r}")
    return LETTERS[letter], kind
