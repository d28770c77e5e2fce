"""The Python standard library's own source code, each line with the lexical classes of its characters.

The classes are those of the `tokenize` module: keyword, name, number, string, comment, operator. What is in no
token (space, line continuation) is outside. A string over several lines is one entity on each line. An f-string
is one string entity whatever the Python version, though since 3.12 `tokenize` splits it.
"""

import io
import keyword
import platform
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqlab.data.corpus import Corpus, TaggedLine, make_corpus
from seqlab.errors import DataError
from seqlab.metrics import Span

__all__ = ["load_standard_library", "tag_source"]

_CLASSES = {
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.COMMENT: "comment",
    tokenize.OP: "operator",
}
# Kinds that only newer Pythons have; 3.14 adds the template strings.
_STARTS = {getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name)}
_ENDS = {getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name)}

_OTHER_PACKAGES = {"site-packages", "dist-packages", "__pycache__"}
_TESTS = {"test", "tests", "idle_test"}
# Tables written by programs: thousands of lines alike, which would flatter every figure.
_TABLES = {"encodings", "pydoc_data"}


def load_standard_library(*, max_length: int, limits: Mapping[str, int | None], root: Path | None = None) -> Corpus:
    """The lines of the standard library under `root` (this Python's own by default), split by file.

    Left out: installed packages, tests, generated tables, and files that cannot be decoded or tokenized.

    Raises:
        DataError: there is no source code, or too little.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(root.rglob("*.py")) if _is_wanted(path.relative_to(root))]
    if not files:
        raise DataError(f"no Python source under {root}: install Python with its library's source, or give --data")
    lines: list[tuple[str, TaggedLine]] = []
    unreadable = 0
    for path in files:
        key = path.relative_to(root).as_posix()
        try:
            with tokenize.open(path) as file:
                lines += [(key, line) for line in tag_source(file.read())]
        except (OSError, SyntaxError, tokenize.TokenError, UnicodeDecodeError):
            unreadable += 1
    version = platform.python_version()
    name = f"Python {version} standard library"
    notes = [f"{name}: {len(files)} files, {unreadable} unreadable ones left out"]
    source = f"the standard library of {platform.python_implementation()} {version}"
    return make_corpus(name, source, lines, max_length=max_length, limits=limits, notes=notes)


def tag_source(source: str) -> list[TaggedLine]:
    """The lines of a Python program that are not blank, tagged.

    >>> tag_source("x = 1")[0].tags
    ['S-name', 'O', 'S-operator', 'O', 'S-number']

    Raises:
        SyntaxError, tokenize.TokenError: `source` is not Python.
    """
    lines = source.split("\n")
    entities: list[list[Span]] = [[] for _ in lines]
    for label, (first_row, first_column), (last_row, last_column) in _tokens(source):
        for row in range(first_row, last_row + 1):
            start = first_column if row == first_row else 0
            end = last_column if row == last_row else len(lines[row - 1])
            if start < end:
                entities[row - 1].append(Span(start, end, label))
    return [TaggedLine(text, tuple(found)) for text, found in zip(lines, entities, strict=True) if text.strip()]


def _tokens(source: str) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Class, (row, column) of the start and of the end; rows from 1, columns from 0."""
    depth, opened = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _STARTS:
            opened = opened if depth else token.start
            depth += 1
        elif token.type in _ENDS:
            depth -= 1
            if not depth:
                yield "string", opened, token.end
        elif depth:
            continue
        elif token.type == tokenize.NAME:
            yield "keyword" if keyword.iskeyword(token.string) else "name", token.start, token.end
        elif token.type in _CLASSES:
            yield _CLASSES[token.type], token.start, token.end


def _is_wanted(path: Path) -> bool:
    """Whether a file (relative to the library) is source written by people for the library itself."""
    if path.name.startswith("_sysconfigdata"):  # this machine's build settings
        return False
    return not (_OTHER_PACKAGES | _TESTS | _TABLES) & set(path.parts[:-1])
