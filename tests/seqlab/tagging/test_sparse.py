"""Sparse products against dense ones, and the vocabulary that makes the matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab.errors import DataError
from seqlab.kernels import use_backend
from seqlab.tagging.attributes import Attributes, merge_equal_columns
from seqlab.tagging.sparse import SparseRows


def random_rows(draw, N=40, F=17):
    counts = draw.integers(0, 6, N)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = draw.integers(0, F, offsets[-1]).astype(np.int32)
    return SparseRows(columns, draw.normal(size=offsets[-1]), offsets, F)


def dense(rows):
    matrix = np.zeros((len(rows.offsets) - 1, rows.num_columns))
    for i in range(len(matrix)):
        for entry in range(rows.offsets[i], rows.offsets[i + 1]):
            matrix[i, rows.columns[entry]] += rows.values[entry]
    return matrix


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_the_dense_matrix(backend, dtype):
    draw = np.random.default_rng(0)
    rows = random_rows(draw)
    table, slope = draw.normal(size=(17, 5)).astype(dtype), draw.normal(size=(40, 5)).astype(dtype)
    found, back = rows.dot(table), rows.transposed().dot(slope)
    assert found.dtype == back.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, dense(rows) @ table, atol=tolerance)
    np.testing.assert_allclose(back, dense(rows).T @ slope, atol=tolerance)


def test_an_empty_matrix(backend):
    nothing = SparseRows(np.zeros(0, np.int32), np.zeros(0), np.zeros(1, np.int64), 3)
    assert nothing.dot(np.ones((3, 2))).shape == (0, 2)
    assert nothing.transposed().dot(np.ones((0, 2))).tolist() == [[0.0, 0.0]] * 3


def test_the_number_of_threads_changes_no_bit(backend):
    draw = np.random.default_rng(1)
    rows = random_rows(draw, N=20_000, F=500)
    table = draw.normal(size=(500, 16))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append((rows.dot(table), rows.transposed().dot(found[0][0] if found else rows.dot(table))))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(a, b) for pair in found[1:] for a, b in zip(found[0], pair, strict=True))


def matrix(attributes, rows):
    return [
        {attributes.names[c]: v for c, v in zip(rows.columns[a:b], rows.values[a:b], strict=True)}
        for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)
    ]


def test_lists_of_strings_become_a_matrix():
    sentences = [[["a", "b"], ["b"]], [], [[], ("c", "a")]]
    attributes, rows = Attributes.learn(sentences)
    assert attributes.names == ["a", "b", "c"]
    assert matrix(attributes, rows) == [{"a": 1, "b": 1}, {"b": 1}, {}, {"c": 1, "a": 1}]
    again = attributes.rows([[["b", "new"], ["new"]]])
    assert matrix(attributes, again) == [{"b": 1}, {}]


def test_dicts_mean_what_they_mean_to_crfsuite():
    token = {
        "bias": 1.0, "upper": True, "digit": False, "w": "银行", "length": 2, "set": ["x", "y"],
        "in": {"a": "b", "c": 2.5},
    }  # fmt: skip
    attributes, rows = Attributes.learn([[token, {"w": "行"}, ["w:行"]]])
    expected = {
        "bias": 1, "upper": 1, "digit": 0, "w:银行": 1, "length": 2, "set:x": 1, "set:y": 1, "in:a:b": 1, "in:c": 2.5,
    }  # fmt: skip
    assert matrix(attributes, rows) == [expected, {"w:行": 1}, {"w:行": 1}]
    assert matrix(attributes, attributes.rows([[{"length": 7, "w": "new"}]])) == [{"length": 7}]


def test_rare_strings_can_be_left_out():
    attributes, rows = Attributes.learn([[["a", "b"], ["c", "b"], ["a"]]], min_freq=2)
    assert attributes.names == ["a", "b"]
    assert matrix(attributes, rows) == [{"a": 1, "b": 1}, {"b": 1}, {"a": 1}]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("word", "list of strings or a dict, got str"),
        (3, "list of strings or a dict, got int"),
        (["a", 3], "must hold strings: got int"),
        (["a", ["b"]], "must hold strings: got list"),
        ({"a": float("nan")}, "feature 'a': expected .* finite number.* got nan"),
        ({"a": None}, "feature 'a': expected .* got None"),
        ({3: "b"}, "name of a feature must be a string, got 3"),
    ],
)
def test_other_descriptions_are_refused(token, message):
    with pytest.raises(DataError, match=message):
        Attributes.learn([[token]])


@pytest.mark.parametrize("token", [["a", 3], ["a", ["b"]], [None]])
def test_other_descriptions_are_refused_later_too(backend, token):
    attributes, _ = Attributes.learn([[["a"]]])
    with pytest.raises(DataError, match="a list that describes a token must hold strings"):
        attributes.rows([[token]])


WORDS = st.text(alphabet=st.characters(codec=None), max_size=4) | st.sampled_from(["a", "银行", "\0", "\ud800", ""])


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, unique=True, max_size=30), st.lists(st.lists(WORDS, max_size=5), max_size=20))
def test_the_compiled_table_finds_what_a_dict_finds(names, tokens):
    pytest.importorskip("numba", reason="pip install numba")
    attributes = Attributes(names)
    found = []
    for name in ("numba", "torch"):
        with use_backend(name):
            found.append(attributes.rows([tokens, [["银行"] * 3]]))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_names_survive_bytes():
    names = ["w=银行", "line\nbreak", "\ud800", "", '"']
    assert Attributes.from_bytes(Attributes(names).to_bytes()).names == names


def test_equal_columns_become_one():
    sentences = [[{"a": 2.0, "b": 2.0, "c": 1.0}, {"d": 1.0, "c": 1.0}, {"e": 2.0, "f": 1.0}, ["g"], ["g"]]]
    attributes, rows = Attributes.learn(sentences)
    merged, group, scale = merge_equal_columns(rows)
    assert attributes.names == list("abcdefg")
    assert group.tolist() == [0, 0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(scale, [2**0.5, 1, 1, 1, 1, 1])
    weights = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_allclose(merged.dot(weights), rows.dot((weights / scale[:, None])[group]))
