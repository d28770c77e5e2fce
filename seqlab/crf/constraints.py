"""Which tags may start a sequence, end it, and follow each other."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqlab import schemes
from seqlab.crf.checks import positive, whole
from seqlab.errors import ShapeError

__all__ = ["TransitionConstraints", "bioes_constraints", "forbid", "label_constraints"]


class TransitionConstraints(NamedTuple):
    """Allowed moves; True is allowed.

    Attributes:
        start: (K,), bool.
        end: (K,), bool.
        pairs: (K, K), bool, from row to column.
    """

    start: Tensor
    end: Tensor
    pairs: Tensor


def label_constraints(labels: Sequence[str], scheme: str | None = None) -> TransitionConstraints:
    """Derive the allowed moves from the K labels: exactly the sequences that the scheme can produce.

    Args:
        labels: `O`, or a position and a type such as `B-NOUN`; the type may be missing (`B M E S`).
        scheme: "BIO" (also "IOB2"), "IOB1", "IOE2", or "BIOES" (also "IOBES", "BMES", "BMEWO", "BILOU"); None reads
            it off the labels' positions, see `seqlab.schemes.guess_scheme`.

    Raises:
        ShapeError: there is no label, one occurs twice, one is of another form, or the scheme is unknown.
    """
    for label in labels:
        if not isinstance(label, str):
            raise ShapeError(f"labels must be strings, got {label!r}")
    if not labels or len(set(labels)) != len(labels):
        raise ShapeError(f"labels must be at least one and all different, got {list(labels)}")
    scheme = schemes.guess_scheme(labels) if scheme is None else schemes.scheme_name(scheme)
    parts = [schemes.parse(label, scheme) for label in labels]
    edge = schemes.parse("O", scheme)  # the sequence's border begins and ends segments as an O does
    start = [schemes.may_follow(edge, part, scheme) for part in parts]
    end = [schemes.may_follow(part, edge, scheme) for part in parts]
    pairs = [[schemes.may_follow(before, after, scheme) for after in parts] for before in parts]
    return TransitionConstraints(torch.tensor(start), torch.tensor(end), torch.tensor(pairs))


bioes_constraints = label_constraints


def forbid(
    num_tags: int, moves: Iterable[tuple[int, int]] = (), start: Iterable[int] = (), end: Iterable[int] = ()
) -> TransitionConstraints:
    """Allow everything but the given moves (from, to), first tags and last tags.

    Raises:
        ShapeError: `num_tags` is no positive integer, a move is no pair, or a tag is no integer or out of range.
    """
    num_tags = positive("num_tags", num_tags, "number of tags")
    first, last = torch.ones(num_tags, dtype=torch.bool), torch.ones(num_tags, dtype=torch.bool)  # (K,), (K,)
    pairs = torch.ones(num_tags, num_tags, dtype=torch.bool)
    for name, allowed, forbidden in (
        ("moves", pairs, moves),
        ("start", first, ((tag,) for tag in start)),
        ("end", last, ((tag,) for tag in end)),
    ):
        for move in forbidden:
            if not hasattr(move, "__len__") or len(move) != allowed.dim():
                raise ShapeError(f"{name} must hold pairs of tags (from, to), got {move!r}")
            tags = tuple(whole(f"a tag in {name}", tag) for tag in move)
            if not all(0 <= tag < num_tags for tag in tags):
                raise ShapeError(f"{name} must hold tags in 0 … {num_tags - 1}, got {tags}")
            allowed[tags] = False
    return TransitionConstraints(first, last, pairs)
