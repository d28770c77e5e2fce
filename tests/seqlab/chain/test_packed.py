"""The packed engine against the tensor engine, compiled and eager, with everything that may be odd about sequences."""

import numpy as np
import pytest
import torch

from seqlab import chain, kernels
from seqlab.chain import packed
from seqlab.errors import ShapeError


@pytest.fixture(params=["numba", "torch"], autouse=True)
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    with kernels.use_backend(request.param):
        yield request.param


def example(K=4, sizes=(3, 0, 5, 1, 12), dtype=np.float64, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    sizes = np.array(sizes)
    scores = [rng.normal(scale=scale, size=shape) for shape in ((sizes.sum(), K), (K, K), K, K)]
    return *(part.astype(dtype) for part in scores), sizes


def one_by_one(emissions, transitions, start, end, sizes):
    """Each sequence alone through the eager tensor engine in float64."""
    fixed = [torch.from_numpy(part).double() for part in (transitions, start, end)]
    with kernels.use_backend("torch"):
        for rows in np.split(emissions, np.cumsum(sizes)[:-1]):
            tensor = torch.from_numpy(rows).double().unsqueeze(1)
            yield chain.expected_counts(tensor, *fixed), chain.viterbi(tensor, *fixed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("K", [1, 2, 9, 20])
def test_like_each_sequence_alone(K, dtype):
    scores = example(K, dtype=dtype)
    tolerance = {"rtol": 1e-10} if dtype == np.float64 else {"rtol": 2e-5, "atol": 1e-6}
    counts, path = packed.forward_backward(*scores), packed.viterbi(*scores)
    alone = list(one_by_one(*scores))
    states = np.concatenate([c.states.numpy()[:, 0] for c, _ in alone])
    np.testing.assert_allclose(counts.log_partition, [c.log_partition.item() for c, _ in alone], **tolerance)
    np.testing.assert_allclose(counts.states, states, **tolerance)
    np.testing.assert_allclose(counts.transitions, sum(c.transitions.numpy() for c, _ in alone), **tolerance)
    np.testing.assert_array_equal(path.states, np.concatenate([p.tags.numpy()[:, 0] for _, p in alone]))
    np.testing.assert_allclose(path.score, [p.score.item() for _, p in alone], **tolerance)
    assert counts.states.dtype == dtype


def test_symbols_are_lines_of_a_table():
    _, transitions, start, end, sizes = example()
    table = np.random.default_rng(1).normal(size=(6, 4))
    symbols = np.random.default_rng(2).integers(0, 6, sizes.sum())
    dense = packed.forward_backward(table[symbols], transitions, start, end, sizes)
    counts = packed.symbol_counts(symbols, table, transitions, start, end, sizes)
    full = sizes > 0
    last, first = np.cumsum(sizes)[full] - 1, (np.cumsum(sizes) - sizes)[full]
    np.testing.assert_allclose(counts.log_partition, dense.log_partition)
    np.testing.assert_allclose(counts.transitions, dense.transitions)
    np.testing.assert_allclose(counts.starts, dense.states[first].sum(axis=0))
    np.testing.assert_allclose(counts.ends, dense.states[last].sum(axis=0))
    for symbol in range(6):
        np.testing.assert_allclose(counts.emissions[symbol], dense.states[symbols == symbol].sum(axis=0))
    path = packed.viterbi(table[symbols], transitions, start, end, sizes)
    same = packed.symbol_viterbi(symbols, table, transitions, start, end, sizes)
    np.testing.assert_array_equal(path.states, same.states)
    np.testing.assert_allclose(path.score, same.score)


def test_an_impossible_sequence_counts_nothing():
    emissions, transitions, start, end, sizes = example(sizes=(3, 2))
    emissions[1] = -np.inf
    counts = packed.forward_backward(emissions, transitions, start, end, sizes)
    assert counts.log_partition[0] == -np.inf
    assert np.isfinite(counts.log_partition[1])
    assert (counts.states[:3] == 0).all()
    assert counts.transitions.sum() == pytest.approx(1)
    assert packed.viterbi(emissions, transitions, start, end, sizes).score[0] == -np.inf


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_that_probabilities_would_lose(dtype):
    emissions, transitions, start, end, sizes = example(K=3, sizes=(4, 50, 3), dtype=dtype)
    emissions[6:10] *= 1e4
    transitions[0, 1] = -np.inf
    scores = (emissions, transitions, start, end, sizes)
    counts = packed.forward_backward(*scores)
    alone = [c for c, _ in one_by_one(*scores)]
    np.testing.assert_allclose(counts.log_partition, [c.log_partition.item() for c in alone], rtol=1e-6)
    np.testing.assert_allclose(counts.states, np.concatenate([c.states.numpy()[:, 0] for c in alone]), atol=1e-5)
    np.testing.assert_allclose(counts.transitions, sum(c.transitions.numpy() for c in alone), atol=1e-4)


def test_sums_that_grow_at_every_step():
    """With all scores alike the sum over states grows by a factor of K a step; nothing may overflow."""
    emissions, sizes = np.zeros((3000, 20), np.float32), np.array([2999, 1])
    counts = packed.forward_backward(emissions, np.zeros((20, 20), np.float32), np.zeros(20), None, sizes)
    np.testing.assert_allclose(counts.log_partition, sizes * np.log(20.0), rtol=1e-6)
    np.testing.assert_allclose(counts.states, 0.05, rtol=1e-5)


@pytest.mark.parametrize(("last_wins", "expected"), [(False, [0, 0, 0]), (True, [1, 1, 0])])
def test_ties(last_wins, expected):
    emissions, start = np.zeros((3, 2)), np.zeros(2)
    path = packed.viterbi(emissions, np.zeros((2, 2)), start, None, np.array([3]), last_wins=last_wins)
    assert path.states.tolist() == expected


def test_the_number_of_threads_changes_nothing():
    scores = example(K=7, sizes=(400, 300, 500, 20, 600))
    table = np.random.default_rng(1).normal(size=(5, 7))
    symbols = np.random.default_rng(2).integers(0, 5, scores[4].sum())
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            counts = packed.symbol_counts(symbols, table, *scores[1:])
            results.append((packed.forward_backward(*scores).states, counts.emissions, counts.log_partition))
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emissions": np.zeros(4)}, r"emissions must be \(N, K\) floats"),
        ({"emissions": np.zeros((4, 2), int)}, r"emissions must be \(N, K\) floats"),
        ({"sizes": np.array([1, 2])}, "sizes must add up to 4 steps, got 3"),
        ({"sizes": np.array([5, -1])}, "sizes must be one row of integers"),
        ({"transitions": np.zeros((2, 3))}, r"transitions must have shape \(2, 2\)"),
        ({"emissions": np.full((4, 2), np.nan)}, "emissions must hold no NaN"),
    ],
)
def test_bad_input(change, message):
    arguments = {
        "emissions": np.zeros((4, 2)), "transitions": np.zeros((2, 2)), "start": np.zeros(2), "end": None,
        "sizes": np.array([3, 1]),
    } | change  # fmt: skip
    with pytest.raises(ShapeError, match=message):
        packed.forward_backward(**arguments)


@pytest.mark.parametrize("K", [1, 5, 9, 20])
def test_sequences_longer_than_the_kernels_chunks(K):
    """Forward–backward goes 256 steps at a time; one sequence here is beyond scaling, left to the careful engine."""
    sizes = np.array([255, 256, 0, 257, 1, 512, 513, 1100])
    draw = np.random.default_rng(K)
    emissions, transitions = draw.normal(size=(sizes.sum(), K)) * 3, draw.normal(size=(K, K))
    start, end = draw.normal(size=K), draw.normal(size=K)
    first = np.cumsum(sizes) - sizes
    if K > 1:  # the best state of each step can't be reached from that of the step before
        transitions[0, 1] = -np.inf
        emissions[first[5] : first[5] + 512 : 2, 0] = 1e4
        emissions[first[5] + 1 : first[5] + 512 : 2, 1] = 1e4
    found = packed.forward_backward(emissions, transitions, start, end, sizes)
    with kernels.use_backend("torch"):
        expected = packed.forward_backward(emissions, transitions, start, end, sizes)
    for name, values in expected._asdict().items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-9, err_msg=name)
    M, symbols = 7, draw.integers(7, size=sizes.sum())
    table = draw.normal(size=(M, K))
    counts = packed.symbol_counts(symbols, table, transitions, start, end, sizes)
    whole = packed.forward_backward(table[symbols], transitions, start, end, sizes)
    np.testing.assert_allclose(counts.log_partition, whole.log_partition, rtol=1e-12)
    np.testing.assert_allclose(counts.transitions, whole.transitions, rtol=1e-9)
    emitted = np.array([whole.states[symbols == symbol].sum(axis=0) for symbol in range(M)])
    np.testing.assert_allclose(counts.emissions, emitted, rtol=1e-9)
    inside = sizes > 0
    np.testing.assert_allclose(counts.starts, whole.states[first[inside]].sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(counts.ends, whole.states[(first + sizes - 1)[inside]].sum(axis=0), rtol=1e-9)
