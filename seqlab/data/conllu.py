"""Universal Dependencies files (CoNLL-U): sentences whose characters are tagged with their word's part of speech.

For a language written without spaces this is word segmentation and tagging at once.
Format: https://universaldependencies.org/format.html
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqlab.data.corpus import Corpus, TaggedLine, make_corpus
from seqlab.errors import DataError
from seqlab.metrics import Span

__all__ = ["load_conllu", "read_conllu"]

_COLUMNS = 10
_ID = re.compile(r"(\d+)(?:([-.])(\d+))?")


def load_conllu(path: Path, *, max_length: int, limits: Mapping[str, int | None]) -> Corpus:
    """The sentences of a file as lines, split by a hash of their text.

    Raises:
        DataError: naming file and line of what is wrong, or a part that is left empty.
    """
    lines = ((line.text, line) for line in read_conllu(path))
    source = f"the Universal Dependencies file {path.name}"
    return make_corpus(path.name, source, lines, max_length=max_length, limits=limits)


def read_conllu(path: Path) -> list[TaggedLine]:
    """Every sentence of a file: words joined as written (`SpaceAfter=No`), each an entity labelled with its UPOS.

    A multiword token (1-2) is one entity with its first word's UPOS; empty nodes (8.1) are skipped.

    Raises:
        DataError: naming file and line.
    """
    sentences: list[TaggedLine] = []
    words: list[tuple[str, str, bool]] = []  # form, UPOS, whether a space follows
    covered = 0  # the last word id inside a multiword token
    number = 0
    for number, line in _numbered_lines(path):
        if not line.strip():
            _finish(words, sentences, f"{path}:{number}")
            words, covered = [], 0
        elif not line.startswith("#"):
            covered = _add_word(words, covered, line, f"{path}:{number}")
    _finish(words, sentences, f"{path}:{number}")
    if not sentences:
        raise DataError(f"{path}: no sentences found: expected a CoNLL-U file")
    return sentences


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            yield number, line.rstrip(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start})") from error


def _add_word(words: list[tuple[str, str, bool]], covered: int, line: str, where: str) -> int:
    """Append the word on `line`; return the last id that a multiword token covers."""
    columns = line.split("\t")
    if len(columns) != _COLUMNS:
        raise DataError(f"{where}: expected {_COLUMNS} columns between tabs, got {len(columns)}")
    identifier, form, upos, misc = columns[0], columns[1], columns[3], columns[9]
    match = _ID.fullmatch(identifier)
    if match is None:
        raise DataError(f"{where}: expected a word's number in column 1, got {identifier!r}")
    if match[2] == ".":
        return covered
    if not form:
        raise DataError(f"{where}: the word's form (column 2) is empty")
    spaced = "SpaceAfter=No" not in misc.split("|")
    if match[2] == "-":
        words.append((form, "", spaced))
        return int(match[3])
    if upos in ("_", ""):
        raise DataError(f"{where}: the word {form!r} has no UPOS (column 4)")
    if int(match[1]) > covered:
        words.append((form, upos, spaced))
    elif not words[-1][1]:
        words[-1] = (words[-1][0], upos, words[-1][2])
    return covered


def _finish(words: list[tuple[str, str, bool]], sentences: list[TaggedLine], where: str) -> None:
    """Join the words of a sentence, if there are any, and append it."""
    text, entities = "", []
    for form, upos, spaced in words:
        if not upos:
            raise DataError(f"{where}: the multiword token {form!r} above has no words of its own")
        entities.append(Span(len(text), len(text) + len(form), upos))
        text += form + (" " if spaced else "")
    if words:
        sentences.append(TaggedLine(text.rstrip(" "), tuple(entities)))
