"""List Viterbi against the sorted list of all paths."""

import pytest
import torch

from seqlab import chain, kernels
from seqlab.chain.kbest import k_best
from seqlab.errors import ShapeError
from tests.seqlab import oracles

NEVER = float("-inf")


@pytest.fixture(params=["numba", "torch"], autouse=True)
def _backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install numba")
    with kernels.use_backend(request.param):
        yield


def random_chain(T, B, K, seed=0, scale=1.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    return [torch.randn(shape, generator=draw, dtype=dtype) * scale for shape in shapes]


def all_ranked(parts, b, n):
    """Every allowed path of row b with its score: best first, ties by the last state, then the one before."""
    emissions, transitions, start, end = (part.double().tolist() for part in parts)
    row = [step[b] for step in emissions[:n]]
    paths = oracles.all_paths(n, len(start))
    ranked = [(oracles.score_of(path, row, transitions, start, end), path) for path in paths]
    return sorted((-score, path[::-1], path) for score, path in ranked if score > NEVER)


def compare_with_enumeration(parts, lengths, k, rel=1e-9):
    T, B, _ = parts[0].shape
    found = k_best(*parts, lengths, k=k)
    assert found.tags.shape == (k, T, B)
    assert found.score.shape == (k, B)
    for b, n in enumerate(lengths.tolist()):
        truth = all_ranked(parts, b, n)[:k]
        assert found.counts[b] == len(truth)
        for r, (cost, *_) in enumerate(truth):
            assert found.score[r, b].item() == pytest.approx(-cost, rel=rel, abs=rel)
            own = tuple(found.tags[r, :n, b].tolist())
            score = oracles.score_of(own, *row_of(parts, b, n))
            assert score == pytest.approx(-cost, rel=rel, abs=rel)
        listed = {tuple(path) for path in found.tags[: len(truth), :n, b].tolist()}
        assert len(listed) == len(truth)
        assert (found.tags[len(truth) :, :, b] == -1).all()
        assert (found.score[len(truth) :, b] == NEVER).all()
        assert (found.tags[:, n:, b] == -1).all()


def row_of(parts, b, n):
    emissions, transitions, start, end = (part.double().tolist() for part in parts)
    return [step[b] for step in emissions[:n]], transitions, start, end


@pytest.mark.parametrize(("T", "K"), [(1, 1), (1, 3), (5, 1), (2, 2), (5, 3), (4, 4)])
@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_agrees_with_enumeration(T, K, k):
    compare_with_enumeration(random_chain(T, 4, K), torch.tensor([T, max(T - 1, 0), 0, 1]), k)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_forbidden_scores(share):
    for seed in range(10):
        parts = random_chain(4, 3, 3, seed)
        draw = torch.Generator().manual_seed(seed)
        for part in parts:
            part[torch.rand(part.shape, generator=draw) < share / (1 + (part.dim() == 3))] = NEVER
        compare_with_enumeration(parts, torch.tensor([4, 3, 1]), 6)


@pytest.mark.parametrize("scale", [1e4, 1e-30])
def test_extreme_scores(scale):
    compare_with_enumeration(random_chain(4, 3, 3, 1, scale), torch.tensor([4, 3, 1]), 10)


def test_ties_follow_the_documented_order():
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        parts = [torch.randint(0, 2, shape, generator=draw).double() for shape in [(4, 2, 3), (3, 3), (3,), (3,)]]
        found, best = k_best(*parts, k=81), chain.viterbi(*parts)
        for b in range(2):
            assert [tuple(path) for path in found.tags[:, :, b].tolist()] == [p for *_, p in all_ranked(parts, b, 4)]
        assert (found.tags[0] == best.tags).all()
        assert (found.score[0] == best.score).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_come_back_at_least_float32(dtype):
    parts = [part.to(dtype) for part in random_chain(4, 2, 3)]
    assert k_best(*parts, k=3).score.dtype == torch.float32
    compare_with_enumeration(parts, torch.tensor([4, 2]), 5, rel=1e-5)


def test_a_long_row_of_large_scores():
    T, K = 10_000, 3
    parts = random_chain(T, 1, K, 3, 1e4)
    found = k_best(*parts, k=4)
    assert (found.score.diff(dim=0) <= 0).all()
    assert (found.tags[0] == chain.viterbi(*parts).tags).all()
    for r in range(4):
        score = chain.path_score(parts[0], found.tags[r], *parts[1:])
        torch.testing.assert_close(score, found.score[r], rtol=1e-9, atol=0)
    assert len({tuple(path) for path in found.tags[:, :, 0].tolist()}) == 4


def test_padding_is_never_read_and_inputs_are_not_changed():
    parts = random_chain(5, 3, 4)
    lengths = torch.tensor([5, 2, 0])
    clean = k_best(*parts, lengths, k=3)
    parts[0][2:, 1], parts[0][:, 2] = float("nan"), float("inf")
    before = [part.clone() for part in parts]
    padded = k_best(*parts, lengths, k=3)
    for one, other in zip(clean, padded, strict=True):
        assert torch.equal(one, other)
    for part, copy in zip(parts, before, strict=True):
        torch.testing.assert_close(part, copy, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 0, 2)])
def test_empty_batches(shape):
    T, B, K = shape
    found = k_best(torch.zeros(shape), torch.zeros(K, K), torch.zeros(K), torch.zeros(K), k=2)
    assert found.tags.shape == (2, T, B)
    assert (found.score[0] == 0).all()
    assert (found.score[1] == NEVER).all()
    assert (found.counts == 1).all()


def test_backends_agree_bit_for_bit():
    pytest.importorskip("numba", reason="pip install numba")
    parts, lengths = random_chain(12, 5, 6, 2, dtype=torch.float32), torch.tensor([12, 7, 1, 0, 12])
    with kernels.use_backend("torch"):
        eager = k_best(*parts, lengths, k=9)
    with kernels.use_backend("numba"):
        compiled = k_best(*parts, lengths, k=9)
    assert all(torch.equal(one, other) for one, other in zip(eager, compiled, strict=True))


def test_bad_input_is_named():
    parts = random_chain(3, 2, 2)
    with pytest.raises(ShapeError, match="k must be at least 1, got 0"):
        k_best(*parts, k=0)
    parts[0][1, 1, 0] = float("nan")
    with pytest.raises(ShapeError, match="emissions must hold no NaN"):
        k_best(*parts, k=1)
