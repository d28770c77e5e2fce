"""CoNLL-U: hand-made Chinese, the format's corners, messages for bad files, and the real corpus."""

import os
from pathlib import Path

import pytest

from seqlab.data.conllu import load_conllu, read_conllu
from seqlab.errors import DataError

CHINESE = """# sent_id = 1
# text = 我爱北京。
1	我	我	PRON	_	_	2	nsubj	_	SpaceAfter=No
2	爱	爱	VERB	_	_	0	root	_	SpaceAfter=No
3	北京	北京	PROPN	_	_	2	obj	_	SpaceAfter=No
4	。	。	PUNCT	_	_	2	punct	_	SpaceAfter=No

"""


def write(folder, text):
    path = folder / "data.conllu"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def word(identifier, form, upos="X", misc="_"):
    return "\t".join([identifier, form, "_", upos, "_", "_", "0", "root", "_", misc])


def test_chinese_words_become_entities_of_characters(tmp_path):
    (line,) = read_conllu(write(tmp_path, CHINESE))
    assert line.text == "我爱北京。"
    assert line.tags == ["S-PRON", "S-VERB", "B-PROPN", "E-PROPN", "S-PUNCT"]


@pytest.mark.parametrize("change", [lambda t: t.rstrip(), lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t])
def test_line_ends_and_byte_order_marks_change_nothing(tmp_path, change):
    assert read_conllu(write(tmp_path, change(CHINESE))) == read_conllu(write(tmp_path, CHINESE))


def test_spaces_multiword_tokens_and_empty_nodes(tmp_path):
    rows = [
        word("1", "vino", "VERB"),
        word("2-3", "del", "_"),
        word("2", "de", "ADP"),
        word("3", "el", "DET"),
        word("3.1", "gone", "VERB"),
        word("4", "mar", "NOUN", "A=b|SpaceAfter=No"),
        word("5", ".", "PUNCT"),
    ]
    (line,) = read_conllu(write(tmp_path, "\n".join(rows)))
    assert line.text == "vino del mar."
    assert [(line.text[a:b], label) for a, b, label in line.entities] == [
        ("vino", "VERB"), ("del", "ADP"), ("mar", "NOUN"), (".", "PUNCT"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (CHINESE + "1\tx\n", 8, "expected 10 columns between tabs, got 2"),
        (CHINESE + word("one", "x"), 8, "'one'"),
        (CHINESE + word("1", ""), 8, "form"),
        (CHINESE + word("1", "x", "_"), 8, "UPOS"),
        (CHINESE.encode() + b"# \xff\n", 8, "not UTF-8"),
        (CHINESE + word("1-2", "x", "_"), 8, "no words of its own"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, line, words):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_conllu(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_file_without_sentences_is_an_error(tmp_path, text):
    with pytest.raises(DataError, match="no sentences"):
        read_conllu(write(tmp_path, text))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_conllu(tmp_path / "none")


def test_too_few_sentences_to_split(tmp_path):
    with pytest.raises(DataError, match="more data is needed"):
        load_conllu(write(tmp_path, CHINESE), max_length=100, limits={})


def test_the_real_chinese_corpus():
    root = Path(os.environ.get("SEQLAB_DATA", Path(__file__).parents[4] / "shared/data"))
    path = root / "ud_zh_gsdsimp/zh_gsdsimp-ud-dev.conllu"
    if not path.exists():
        pytest.skip("set SEQLAB_DATA to a folder with ud_zh_gsdsimp (UD_Chinese-GSDSimp)")
    lines = read_conllu(path)
    written = [row.removeprefix("# text = ") for row in path.read_text("utf-8").splitlines() if "# text = " in row]
    assert [line.text for line in lines] == [text.strip() for text in written]
    corpus = load_conllu(path, max_length=200, limits={})
    assert len(corpus.labels()) >= 14
    assert len(corpus.parts["train"]) > 350
