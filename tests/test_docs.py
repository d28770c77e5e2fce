"""The library's pages: their Python blocks run as written, in order, from an empty namespace."""

import importlib.util
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"crf.md": 3, "hmm.md": 6, "chains.md": 4, "tagging.md": 3}  # and how many blocks there are at least
NEEDS = {"chains.md": ["matplotlib", "networkx"]}
FENCE = re.compile(r"(?:^ *<!-- not run: (?P<reason>.+) -->\n)?^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
                   re.MULTILINE | re.DOTALL)  # fmt: skip


class Block(NamedTuple):
    """A Python block: where its first line stands, its code, and why it is not to run, if so."""

    line: int
    code: str
    reason: str | None


def blocks_of(text):
    return [
        Block(text[: found.start("code")].count("\n"), textwrap.dedent(found["code"]), found["reason"])
        for found in FENCE.finditer(text)
    ]


def left_out(reason):
    """Tell whether a block is left out: always, or "without a, b" where one of these packages is missing."""
    if reason is None:
        return False
    packages = re.findall(r"\w+", reason.removeprefix("without ")) if reason.startswith("without ") else []
    return not packages or not all(map(importlib.util.find_spec, packages))


# Warnings are errors in our own code; these come from fonts and exporters that a machine has or lacks.
@pytest.mark.filterwarnings("ignore:no installed font has", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch.onnx", "ignore::UserWarning:onnxscript")
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    for package in NEEDS.get(page, []):
        pytest.importorskip(package, reason=f"pip install {package}")
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of((DOCS / page).read_text(encoding="utf-8"))
    assert len(blocks) >= PAGES[page]
    names = {"__name__": "__main__"}
    for block in blocks:
        if not left_out(block.reason):
            code = "\n" * block.line + block.code  # a traceback names the page's line
            exec(compile(code, str(DOCS / page), "exec"), names)


def test_blocks_are_found_with_their_marks():
    text = "a\n```python\nx = 1\n```\n\n<!-- not run: so -->\n  ```python\n  y = 2\n  ```\n```sh\nls\n```\n"
    assert blocks_of(text) == [Block(2, "x = 1\n", None), Block(7, "y = 2\n", "so")]
    assert left_out("so")
    assert left_out("without pytest, nosuchpackage")
    assert not left_out("without pytest, re")
    assert not left_out(None)
