"""Samples against the enumerated distribution, and the random numbers against their published test vectors."""

import math
from collections import Counter

import pytest
import torch

from seqlab import kernels
from seqlab.chain.random import philox, seed_number, uniform
from seqlab.chain.sampling import sample
from seqlab.errors import ShapeError
from tests.seqlab import oracles

NEVER = float("-inf")


@pytest.fixture(params=["numba", "torch"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install numba")
    with kernels.use_backend(request.param):
        yield request.param


def random_chain(T, B, K, seed=0, scale=1.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    return [torch.randn(shape, generator=draw, dtype=dtype) * scale for shape in shapes]


def probabilities(parts, b, n):
    emissions, transitions, start, end = (part.tolist() for part in parts)
    row = [step[b] for step in emissions[:n]]
    log_z = oracles.enumerate_chain(row, transitions, start, end).log_partition
    paths = oracles.all_paths(n, len(start))
    return {path: math.exp(oracles.score_of(path, row, transitions, start, end) - log_z) for path in paths}


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_its_authors_test_vectors(counter, key, expected):
    words = philox(tuple(torch.tensor(word) for word in counter), key)
    assert tuple(int(word) for word in words) == expected


def test_uniform_numbers_fill_the_unit_interval():
    numbers = uniform(7, torch.arange(50).view(50, 1, 1), torch.arange(40).view(40, 1), torch.arange(10))
    assert numbers.shape == (50, 40, 10)
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1)
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, one in a thousand
    assert numbers.unique().numel() == numbers.numel()


def test_compiled_uniform_numbers_are_the_same_bits():
    pytest.importorskip("numba", reason="pip install numba")
    import numpy as np

    from seqlab.chain.sampling_kernels import _uniform as compiled_uniform

    for key in (0, 12345, 2**64 - 1):
        for step, number, row in [(0, 0, 0), (5, 6, 7), (10_000, 3, 2**31)]:
            eager = uniform(key, torch.tensor(step), torch.tensor(number), torch.tensor(row))
            assert compiled_uniform(np.uint64(key), step, number, row) == eager.item()


@pytest.mark.usefixtures("backend")
def test_distribution_is_that_of_the_chain():
    parts, lengths, draws = random_chain(3, 3, 3, seed=1), [3, 2, 1], 6000
    parts[1][0, 1] = parts[0][1, 0, 2] = NEVER
    drawn = sample(*parts, torch.tensor(lengths), num_samples=draws, seed=11)
    for b, n in enumerate(lengths):
        truth = probabilities(parts, b, n)
        seen = Counter(tuple(path) for path in drawn[:, :n, b].tolist())
        assert (drawn[:, n:, b] == -1).all()
        assert all(truth[path] > 0 for path in seen)
        expected = {path: p * draws for path, p in truth.items() if p * draws >= 5}
        rare_seen = draws - sum(seen[path] for path in expected)
        rare = draws - sum(expected.values())
        chi_squared = sum((seen[path] - count) ** 2 / count for path, count in expected.items())
        chi_squared += (rare_seen - rare) ** 2 / max(rare, 5.0)
        freedom = len(expected)
        assert chi_squared < freedom + 3.1 * math.sqrt(2 * freedom) + 6.5  # beyond one in a thousand


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("forbidden", [NEVER, -1e4])
def test_forbidden_transitions_are_never_drawn(forbidden):
    parts = random_chain(30, 4, 4, seed=2)
    barred = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    barred.fill_diagonal_(False)
    parts[1][barred] = forbidden
    drawn = sample(*parts, num_samples=50, seed=0)
    assert not barred[drawn[:, :-1], drawn[:, 1:]].any()


@pytest.mark.usefixtures("backend")
def test_no_path_is_lost_to_underflow():
    # State 1 is 1e4 worse at first, but the only one that may go on.
    emissions = torch.zeros(3, 1, 2, dtype=torch.float64)
    emissions[0, 0, 1] = -1e4
    transitions = torch.tensor([[NEVER, NEVER], [0.0, 0.0]], dtype=torch.float64)
    drawn = sample(emissions, transitions, torch.zeros(2), torch.zeros(2), num_samples=200, seed=5)
    assert (drawn[:, :2, 0] == 1).all()
    assert drawn[:, 2].double().mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.usefixtures("backend")
def test_a_long_row_of_large_scores_follows_the_best_path():
    from seqlab import chain

    parts = random_chain(10_000, 1, 3, seed=3, scale=1e4)
    drawn = sample(*parts, num_samples=2, seed=0)
    assert (drawn == chain.viterbi(*parts).tags).double().mean() > 0.99


@pytest.mark.usefixtures("backend")
def test_the_same_seed_gives_the_same_paths_whatever_the_threads_and_the_padding():
    parts, lengths = random_chain(200, 40, 8, seed=4, dtype=torch.float32), torch.arange(40) * 3
    drawn = sample(*parts, lengths, num_samples=5, seed=9)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = sample(*parts, lengths, num_samples=3, seed=9)
        torch.set_num_threads(4)
        together = sample(parts[0][:117, :30].contiguous(), *parts[1:], lengths[:30], num_samples=5, seed=9)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone, drawn[:3])
    assert torch.equal(together, drawn[:, :117, :30])
    assert not torch.equal(sample(*parts, lengths, num_samples=5, seed=10), drawn)


def test_backends_draw_the_same_paths():
    pytest.importorskip("numba", reason="pip install numba")
    parts, lengths = random_chain(50, 20, 7, seed=5), torch.arange(20) * 2
    with kernels.use_backend("torch"):
        eager = sample(*parts, lengths, num_samples=10, seed=3)
    with kernels.use_backend("numba"):
        compiled = sample(*parts, lengths, num_samples=10, seed=3)
    assert torch.equal(eager, compiled)


def test_seeds():
    assert seed_number(-1) == 2**64 - 1
    assert seed_number(torch.Generator().manual_seed(3)) == seed_number(torch.Generator().manual_seed(3))
    torch.manual_seed(8)
    first = seed_number(None), seed_number(None)
    torch.manual_seed(8)
    assert first == (seed_number(None), seed_number(None))
    assert first[0] != first[1]
    with pytest.raises(ShapeError, match="seed must be an int"):
        seed_number(1.5)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("num_samples", [0, 2])
@pytest.mark.parametrize("where", ["transitions", "end"])
def test_a_row_without_a_path_is_named(num_samples, where):
    parts = random_chain(3, 3, 2)
    if where == "transitions":
        parts[0][1, 1] = NEVER
    else:
        parts[0][2, 1, 0] = parts[3][1] = NEVER
    with pytest.raises(ShapeError, match="row 1 has none to sample"):
        sample(*parts, num_samples=num_samples, seed=0)


@pytest.mark.usefixtures("backend")
def test_empty_rows_and_batches():
    parts = random_chain(4, 2, 3)
    assert (sample(*parts, torch.tensor([0, 4]), num_samples=3, seed=0)[:, :, 0] == -1).all()
    assert sample(*parts, num_samples=0, seed=0).shape == (0, 4, 2)
    assert sample(parts[0][:0], *parts[1:], num_samples=3, seed=0).shape == (3, 0, 2)
    assert (sample(*random_chain(5, 2, 1), num_samples=2, seed=0) == 0).all()
    with pytest.raises(ShapeError, match="num_samples must not be negative, got -1"):
        sample(*parts, num_samples=-1, seed=0)
