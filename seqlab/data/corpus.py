"""Tagged lines in three parts, such that no text is in two of them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seqlab.errors import DataError
from seqlab.metrics import Span, bioes_tags

__all__ = ["PARTS", "Corpus", "TaggedLine", "make_corpus", "part_of"]

PARTS = ("train", "valid", "test")


class TaggedLine(NamedTuple):
    """One sequence: its text and its entities, which do not overlap."""

    text: str
    entities: tuple[Span, ...]

    @property
    def tags(self) -> list[str]:
        """One BIOES tag for each character."""
        return bioes_tags(self.entities, len(self.text))


@dataclass(frozen=True)
class Corpus:
    """Tagged lines by part; `notes` say what was left out, `source` where they come from."""

    name: str
    source: str
    parts: Mapping[str, Sequence[TaggedLine]]
    notes: Sequence[str] = ()

    def labels(self) -> list[str]:
        """The entities' labels in all parts, sorted."""
        return sorted({entity.label for lines in self.parts.values() for line in lines for entity in line.entities})

    def sha256(self) -> str:
        """Digest of every line and entity of every part, in order."""
        digest = hashlib.sha256()
        for part in PARTS:
            digest.update(f"{part}\n".encode())
            for line in self.parts[part]:
                entities = " ".join(f"{start}:{end}:{label}" for start, end, label in line.entities)
                digest.update(f"{line.text}\n{entities}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def part_of(key: str) -> str:
    """The part that `key` (a file's name, a sentence) always belongs to: 80 % train, 10 % valid, 10 % test."""
    bucket = int.from_bytes(_hash(key)[:4], "big") % 10
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"


def make_corpus(
    name: str,
    source: str,
    lines: Iterable[tuple[str, TaggedLine]],
    *,
    max_length: int,
    limits: Mapping[str, int | None],
    notes: Sequence[str] = (),
) -> Corpus:
    """Split, clean and cap `lines`, each given with the key that decides its part.

    A text counts once, and in one part only: test has the first claim, then valid, then train. Two texts that
    differ only in the space around them count as the same. Lines longer than `max_length` are left out, and of
    the rest each part takes at most `limits[part]`, chosen by a hash of the text.

    Raises:
        DataError: a part is left empty.
    """
    by_part: dict[str, list[TaggedLine]] = {part: [] for part in PARTS}
    total = too_long = repeated = 0
    for key, line in lines:
        total += 1
        if len(line.text) > max_length:
            too_long += 1
        else:
            by_part[part_of(key)].append(line)
    seen: set[str] = set()
    parts: dict[str, list[TaggedLine]] = {}
    for part in reversed(PARTS):
        unique = [line for line in by_part[part] if not _seen_before(line.text.strip(), seen)]
        repeated += len(by_part[part]) - len(unique)
        parts[part] = _capped(unique, limits.get(part))
        if not parts[part]:
            raise DataError(f"{source}: no {part} lines are left of {total}: more data is needed")
    stats = [
        f"{total:,} lines: {too_long:,} longer than {max_length} characters and {repeated:,} repeated ones left out",
        "used: " + ", ".join(f"{part} {len(parts[part]):,}" for part in PARTS),
    ]
    return Corpus(name, source, {part: parts[part] for part in PARTS}, [*notes, *stats])


def _seen_before(text: str, seen: set[str]) -> bool:
    if text in seen:
        return True
    seen.add(text)
    return False


def _capped(lines: list[TaggedLine], limit: int | None) -> list[TaggedLine]:
    """The `limit` lines with the smallest hashes; a line more or less in the data changes little else."""
    ordered = sorted(lines, key=lambda line: _hash(line.text))
    return ordered if limit is None else ordered[:limit]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
