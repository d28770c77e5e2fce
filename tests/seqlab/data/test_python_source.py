"""Lexical classes of Python source, against hand cases and `tokenize` itself."""

import inspect
import io
import keyword
import tokenize

import pytest

from seqlab.data import python_source
from seqlab.data.python_source import load_standard_library, tag_source
from seqlab.errors import DataError


def shown(source):
    """Each line's entities as (text, label)."""
    return [[(line.text[start:end], label) for start, end, label in line.entities] for line in tag_source(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", [[("x", "name"), ("=", "operator"), ("1", "number")]]),
        ("if a:\n  pass", [[("if", "keyword"), ("a", "name"), (":", "operator")], [("pass", "keyword")]]),
        ("match = 0x1F  # 注释", [[("match", "name"), ("=", "operator"), ("0x1F", "number"), ("# 注释", "comment")]]),
        ("变量 **= '中文'", [[("变量", "name"), ("**=", "operator"), ("'中文'", "string")]]),
        ('"""one\n\n  two\n"""; f()', [
            [('"""one', "string")],
            [("  two", "string")],
            [('"""', "string"), (";", "operator"), ("f", "name"), ("(", "operator"), (")", "operator")],
        ]),
        ("a = 1 + \\\n  2", [
            [("a", "name"), ("=", "operator"), ("1", "number"), ("+", "operator")], [("2", "number")],
        ]),
        ("f'{x!r:>{w}} {f\"{y}\"}' + z", [[("f'{x!r:>{w}} {f\"{y}\"}'", "string"), ("+", "operator"), ("z", "name")]]),
        ("f'''a\n{b}'''", [[("f'''a", "string")], [("{b}'''", "string")]]),
    ],
)  # fmt: skip
def test_hand_cases(source, expected):
    assert shown(source) == expected


def test_tags_are_bioes():
    assert tag_source("if x")[0].tags == ["B-keyword", "E-keyword", "O", "S-name"]


def test_one_line_tokens_agree_with_tokenize():
    source = inspect.getsource(keyword)
    found = {(text, label) for line in shown(source) for text, label in line}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            assert (token.string, "keyword" if keyword.iskeyword(token.string) else "name") in found
        if token.type == tokenize.COMMENT:
            assert (token.string, "comment") in found


def library(root, count=60):
    for number in range(count):
        (root / f"m{number}.py").write_text(f"x{number} = {number}\nprint('{number}')\n")
    return root


def options(root):
    return {"root": root, "max_length": 100, "limits": {}}


def test_what_is_not_the_librarys_own_source_is_left_out(tmp_path):
    plain = load_standard_library(**options(library(tmp_path))).sha256()
    for name in ("site-packages/a.py", "dist-packages/b.py", "pkg/test/c.py", "tests/d.py", "encodings/e.py",
                 "_sysconfigdata_linux.py", "notes.txt"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("left_out = True\n")
    found = load_standard_library(**options(tmp_path))
    assert found.sha256() == plain
    assert "60 files, 0 unreadable" in found.notes[0]


def test_unreadable_files_are_counted(tmp_path):
    library(tmp_path)
    (tmp_path / "bytes.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "open.py").write_text("x = (\n")
    (tmp_path / "cookie.py").write_text("# coding: no-such-code\n")
    assert "63 files, 3 unreadable ones left out" in load_standard_library(**options(tmp_path)).notes[0]


def test_a_library_without_source_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no Python source"):
        load_standard_library(**options(tmp_path))


def test_the_name_says_nothing_about_this_machine(tmp_path):
    found = load_standard_library(**options(library(tmp_path)))
    assert str(tmp_path) not in repr((found.name, found.source, found.notes))


def test_every_class_occurs():
    labels = {label for line in shown(inspect.getsource(python_source)) for _, label in line}
    assert labels == {"keyword", "name", "number", "string", "comment", "operator"}
