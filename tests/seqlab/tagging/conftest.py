"""Small texts, and the Universal Dependencies data where it is at hand."""

import os
from pathlib import Path

import pytest

from seqlab.data.conllu import read_conllu
from seqlab.kernels import use_backend

ROOT = Path(__file__).parents[3]

SENTENCES = [["我", "喜欢", "银行"], ["银行", "在", "北京"], ["你", "喜欢", "我"], ["北京"], [], ["我", "在", "北京"]]
TAGS = [
    ["PRON", "VERB", "NOUN"],
    ["NOUN", "ADP", "PROPN"],
    ["PRON", "VERB", "PRON"],
    ["PROPN"],
    [],
    ["PRON", "ADP", "PROPN"],
]


@pytest.fixture
def text():
    """Six sentences of words, one of them empty, and their tags."""
    return SENTENCES, TAGS


@pytest.fixture(params=["numba", "torch"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install numba")
    with use_backend(request.param):
        yield request.param


def words_and_tags(part: str):
    """Sentences of words, and their parts of speech, of one part of the UD Chinese data."""
    folder = Path(os.environ.get("SEQLAB_DATA") or ROOT.parent / "shared" / "data") / "ud_zh_gsdsimp"
    path = folder / f"zh_gsdsimp-ud-{part}.conllu"
    if not path.exists():
        pytest.skip(f"no {path.name} in {folder}: set SEQLAB_DATA to the folder that holds ud_zh_gsdsimp")
    lines = read_conllu(path)
    words = [[line.text[start:end] for start, end, _ in line.entities] for line in lines]
    return words, [[label for *_, label in line.entities] for line in lines]


@pytest.fixture(scope="session")
def ud_dev():
    return words_and_tags("dev")


@pytest.fixture(scope="session")
def ud_test():
    return words_and_tags("test")
