"""From descriptions of tokens to numbers: which strings there are, and the sparse matrix of a text.

A token is described as CRFsuite's users do it:

* a list (tuple, set) of strings, each a property that it has: `["w=银行", "suffix=行"]`;
* or a dict, whose values say how a name counts: `{"w": "银行"}` is the property "w:银行"; `{"upper": True}` is
  "upper", and False is the same with value 0; `{"length": 2.0}` is "length" with value 2; a list, set or dict as
  a value is one property for each element, "name:element".
"""

import functools
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlab import kernels
from seqlab.errors import DataError
from seqlab.tagging.lookup import StringTable
from seqlab.tagging.sparse import SparseRows

__all__ = ["Attributes", "merge_equal_columns"]

Description = Sequence[str] | Mapping[str, Any]
Sentences = Sequence[Sequence[Description]]
UNKNOWN = -1


class Attributes:
    """The strings that a model knows, numbered in order.

    Args:
        names: all different.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @functools.cached_property
    def _table(self) -> StringTable:
        return StringTable(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def to_bytes(self) -> NDArray[np.uint8]:
        """Return the names as JSON text in one array of bytes, for a file of arrays."""
        return np.frombuffer(json.dumps(self.names).encode(), np.uint8)

    @classmethod
    def from_bytes(cls, data: NDArray[Any]) -> "Attributes":
        """Undo `to_bytes`.

        Raises:
            ValueError, RecursionError: the bytes are no JSON list of different strings.
        """
        names = json.loads(data.tobytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("the attributes are no list of strings")
        if len(set(names)) != len(names):
            raise ValueError("an attribute occurs twice")
        return cls(names)

    @classmethod
    def learn(cls, sentences: Sentences, min_freq: float = 0.0) -> tuple["Attributes", SparseRows]:
        """Number the strings of a text in order of appearance; return them and the text's matrix.

        Args:
            sentences: descriptions of the tokens.
            min_freq: strings seen fewer times are left out.

        Raises:
            DataError: a description is of another form.
        """
        numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        tokens = _Tokens.of(sentences)
        columns, values = tokens.numbered(numbers, grow=True)
        names = list(numbers)
        rows = SparseRows(columns.astype(np.int32), values, tokens.offsets, len(names))
        counts = np.bincount(rows.columns, minlength=len(names))
        if min_freq > 0 and (counts < min_freq).any():
            keep = counts >= min_freq
            rows = rows.kept(keep[rows.columns])
            renumbered = (np.cumsum(keep) - 1).astype(np.int32)
            rows = rows._replace(columns=renumbered[rows.columns], num_columns=int(keep.sum()))
            names = list(itertools.compress(names, keep))
        return cls(names), rows

    def rows(self, sentences: Sentences) -> SparseRows:
        """Return the (N, F) matrix of a text; strings that are not known are left out.

        Raises:
            DataError: a description is of another form.
        """
        tokens = _Tokens.of(sentences)
        columns: NDArray[Any] | None = None
        if kernels.enabled() and not tokens.paired and self.names:
            columns, values = tokens.looked_up(self._table), np.ones(int(tokens.offsets[-1]))
        if columns is None:
            columns, values = tokens.numbered(self._numbers, grow=False)
        rows = SparseRows(columns.astype(np.int32, copy=False), values, tokens.offsets, len(self.names))
        return rows.kept(columns != UNKNOWN)


class _Tokens(NamedTuple):
    """The descriptions of all tokens behind one another, all in one form."""

    items: list[Any]  # lists of strings, or, where `paired`, lists of (name, value)
    offsets: NDArray[np.int64]  # (N + 1,), how many items come before each token
    paired: bool

    @classmethod
    def of(cls, sentences: Sentences) -> "_Tokens":
        tokens: list[Any] = list(itertools.chain.from_iterable(sentences))
        kinds = set(map(type, tokens))
        for kind in kinds:
            if not issubclass(kind, list | tuple | set | frozenset | Mapping):
                raise DataError(f"a token must be described by a list of strings or a dict, got {kind.__name__}")
        paired = any(issubclass(kind, Mapping) for kind in kinds)
        if paired:
            tokens = [list(_pairs(token)) for token in tokens]
        offsets = np.zeros(len(tokens) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, tokens), np.int64, len(tokens)), out=offsets[1:])
        return cls(tokens, offsets, paired)

    def looked_up(self, table: StringTable) -> NDArray[np.int32] | None:
        """Return the strings' numbers by `table`, −1 for those it doesn't have; None if it cannot tell."""
        try:
            return table.find(self.items, int(self.offsets[-1]))
        except TypeError as error:
            raise _not_strings(error) from error

    def numbered(self, numbers: dict[str, int], grow: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return each item's number, −1 if it has none, and its value; `numbers` gives new ones if it may `grow`."""
        flat, total = itertools.chain.from_iterable(self.items), int(self.offsets[-1])
        if self.paired:
            # A text has far fewer different pairs than pairs: each is looked at once.
            distinct: defaultdict[tuple[str, Any], int] = defaultdict(itertools.count().__next__)
            try:
                places = np.fromiter(map(distinct.__getitem__, flat), np.int64, total)
            except TypeError as error:  # a value without a hash is neither a string nor a number
                name, value = next(pair for pair in itertools.chain.from_iterable(self.items) if not _hashable(pair))
                raise _not_a_value(name, value) from error
            named = [_name_and_value(*pair) for pair in distinct]
            look = numbers.__getitem__ if grow else lambda name: numbers.get(name, UNKNOWN)
            found = np.fromiter((look(name) for name, _ in named), np.int64, len(named))
            return found[places], np.array([value for _, value in named], dtype=np.float64)[places]
        for kind in set(map(type, itertools.chain.from_iterable(self.items))):
            if not issubclass(kind, str):
                raise _not_strings(f"got {kind.__name__}")
        if grow:
            return np.fromiter(map(numbers.__getitem__, flat), np.int64, total), np.ones(total)
        return np.fromiter(map(numbers.get, flat, itertools.repeat(UNKNOWN)), np.int64, total), np.ones(total)


def _not_strings(reason: object) -> DataError:
    return DataError(f"a list that describes a token must hold strings: {reason}")


def _pairs(token: Description) -> Iterator[tuple[str, Any]]:
    """Yield (name, string or number); what is nested is joined by colons."""
    if not isinstance(token, Mapping):
        yield from ((name, True) for name in token)
        return
    for name, value in token.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}:{inner}", kept) for inner, kept in _pairs(value))
        elif isinstance(value, list | tuple | set | frozenset):
            yield from ((f"{name}:{inner}", True) for inner in value)
        else:
            yield name, value


def _name_and_value(name: str, value: Any) -> tuple[str, float]:
    if not isinstance(name, str):
        raise DataError(f"the name of a feature must be a string, got {name!r}")
    if isinstance(value, str):
        return f"{name}:{value}", 1.0
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _not_a_value(name, value)
    return name, number


def _not_a_value(name: object, value: object) -> DataError:
    return DataError(f"feature {name!r}: expected a string, a finite number, True or False, got {value!r}")


def _hashable(pair: object) -> bool:
    try:
        hash(pair)
    except TypeError:
        return False
    return True


def merge_equal_columns(rows: SparseRows) -> tuple[SparseRows, NDArray[np.int64], NDArray[np.float64]]:
    """Join columns that are equal, entry by entry: an exact saving for weights trained from 0 with a penalty.

    Most strings of a text occur once; all those of one token alone are the same column. Equal columns get equal
    weights w, and m of them add m·w to a score and m·w² to the penalty. One column, scaled by √m, with the weight
    u = √m·w adds √m·u and u²: the same, at every step of the training, not only at its end.

    Returns:
        The matrix of G ≤ F columns; (F,), each old column's new one; (G,), √m.
    """
    by_column = rows.transposed()
    sizes = np.diff(by_column.offsets)
    # The sum of one random 64-bit number for each row, value and column: equal columns have equal sums.
    numbers = np.random.default_rng(0).integers(1, 2**63, len(rows.offsets), dtype=np.uint64)
    mixed = numbers[by_column.columns] * (by_column.values.astype(np.float64).view(np.uint64) | np.uint64(1))
    before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed)])  # wraps around, as it may
    sums = before[by_column.offsets[1:]] - before[by_column.offsets[:-1]]
    _, first, group = np.unique(sums, return_index=True, return_inverse=True)
    model = first[group]  # (F,), the column that stands for each
    places = np.arange(len(by_column.columns)) + np.repeat(by_column.offsets[model] - by_column.offsets[:-1], sizes)
    same = (sizes == sizes[model]).all() and places.max(initial=0) < len(by_column.columns)
    if not (same and all((part == part[places]).all() for part in (by_column.columns, by_column.values))):
        return rows, np.arange(rows.num_columns), np.ones(rows.num_columns)  # two sums clashed: keep all
    order = np.argsort(first)  # new columns in the old order, which lies well in the cache
    rank = np.argsort(order)
    group, first = rank[group], first[order]
    scale = np.sqrt(np.bincount(group, minlength=len(first)))
    kept = rows.kept(np.isin(np.arange(rows.num_columns), first)[rows.columns])
    columns = group[kept.columns].astype(np.int32)
    merged = SparseRows(columns, kept.values * scale[columns], kept.offsets, len(first))
    return merged, group, scale
