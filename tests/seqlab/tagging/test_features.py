"""What the ready feature functions say about a token, and BMES tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.errors import ShapeError
from seqlab.tagging import bmes_tags, character_features, join_words, word_features
from seqlab.tagging.features import character_type, word_shape


def test_character_types():
    assert [character_type(c) for c in ("银", "A", "z", "７", "，", "五", "月", " ", "", "<s>")] == list("culdpntooo")
    assert word_shape("iPhone15手机") == "luldc"
    assert word_shape("") == ""


def test_a_word_knows_itself_its_ends_and_its_neighbours():
    first, second, third = word_features(["我", "喜欢", "银行"])
    assert {"w=喜欢", "prefix=喜", "suffix=欢", "prefix=喜欢", "w-1=我", "w+1=银行", "w+2=</s>", "has=欢"} <= set(
        second
    )
    assert {"w-1=<s>", "w-2=<s>", "w-1w=<s>|我"} <= set(first)
    assert {"w+1=</s>", "last-1=欢"} <= set(third)


def test_a_character_knows_what_is_around_it():
    described = character_features("上上下下")
    assert {"c=上", "c-1c=上上", "same-1=True", "c+1c+2=下下", "t-1tt+1=ccc"} <= set(described[1])
    assert all(len(found) == len(described[0]) for found in described)
    assert character_features(list("上上下下")) == described
    assert character_features("") == word_features([]) == []


def test_an_empty_token_is_described_too():
    assert len(word_features(["", "a"])) == len(character_features(["", "a"])) == 2


@given(st.lists(st.text(alphabet="我喜欢银行", min_size=1), max_size=8))
def test_words_survive_segmentation(words):
    assert join_words("".join(words), bmes_tags(words)) == words


def test_tags_must_fit_the_characters():
    with pytest.raises(ShapeError, match=r"as many tags as characters \(2\), got 1"):
        join_words("我们", ["S"])
