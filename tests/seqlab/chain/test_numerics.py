"""Sums over all paths where scores are far apart, against plain log-space recursions in extended precision.

Scaled probabilities lose what is too small for them; these cases are made so that what one step would lose matters
in the end.
"""

import numpy as np
import pytest
import torch

from seqlab import chain, kernels
from seqlab.chain import packed

BACKENDS = ["numba", "torch"]
NEVER = -np.inf


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    with kernels.use_backend(request.param):
        yield request.param


def log_sum(values, axis):
    top = values.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis)


def oracle(emissions, transitions, start, end):
    """Return log Z, (T, K) marginals and (K, K) expected moves of one row, every sum in log space."""
    emissions, transitions, start, end = (np.asarray(x, np.longdouble) for x in (emissions, transitions, start, end))
    T, K = emissions.shape
    alpha, beta = np.full((T, K), NEVER, np.longdouble), np.full((T, K), NEVER, np.longdouble)
    alpha[0], beta[-1] = start + emissions[0], end
    for t in range(1, T):
        alpha[t] = log_sum(alpha[t - 1][:, None] + transitions, 0) + emissions[t]
    for t in range(T - 2, -1, -1):
        beta[t] = log_sum(transitions + (emissions[t + 1] + beta[t + 1]), 1)
    log_z = log_sum(alpha[-1] + end, 0)
    moves = np.zeros((K, K), np.longdouble)
    for t in range(T - 1):
        moves += np.exp(alpha[t][:, None] + transitions + emissions[t + 1] + beta[t + 1] - log_z)
    return float(log_z), np.exp(alpha + beta - log_z).astype(float), moves.astype(float)


def compare(parts, dtype, rtol):
    parts = [torch.as_tensor(part, dtype=dtype) for part in parts]
    log_z, states, moves = oracle(*(part.double().numpy() for part in parts))
    emissions, *others = parts
    leaves = [emissions.unsqueeze(1).requires_grad_(), *(part.requires_grad_() for part in others)]
    value = chain.log_partition(*leaves)
    value.sum().backward()
    assert value.item() == pytest.approx(log_z, rel=rtol, abs=rtol)
    found = [leaf.grad.double().numpy() for leaf in leaves]
    np.testing.assert_allclose(found[0][:, 0], states, rtol=0, atol=rtol)
    np.testing.assert_allclose(found[1], moves, rtol=rtol, atol=rtol * max(1, len(states)) ** 0.5)
    np.testing.assert_allclose(found[2], states[0], rtol=0, atol=rtol)
    np.testing.assert_allclose(found[3], states[-1], rtol=0, atol=rtol)
    if dtype != torch.bfloat16:
        sizes = np.array([len(states)])
        counts = packed.forward_backward(*(part.detach().numpy() for part in parts), sizes)
        assert counts.log_partition[0] == pytest.approx(log_z, rel=rtol, abs=rtol)
        np.testing.assert_allclose(counts.states, states, rtol=0, atol=rtol)


def scattered(T, K, reach, seed):
    """Draw scores of all sizes up to `reach`: some small, some huge, some forbidden."""
    draw = np.random.default_rng(seed)

    def scores(*shape):
        size = reach ** draw.random(shape)
        found = draw.normal(size=shape) * size
        return np.where(draw.random(shape) < 0.05, NEVER, found)

    parts = [scores(T, K), scores(K, K), scores(K), scores(K)]
    for part in parts:  # one way at least is open
        part[..., 0] = np.where(np.isfinite(part[..., 0]), part[..., 0], 0.0)
    return parts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_state_that_one_step_all_but_forbids_and_the_next_wants(dtype):
    compare(([[0.0, 128.0]], np.zeros((2, 2)), [0.0, -70.0], [0.0, -60.0]), dtype, 1e-6)
    compare(([[0.0, 900.0]], np.zeros((2, 2)), [0.0, -500.0], [0.0, -402.0]), dtype, 1e-6)
    stay = [[0.0, NEVER], [NEVER, 0.0]]
    for size in (40.0, 80.0, 170.0, 400.0, 760.0):
        for steps in (2, 10, 49):
            emissions = np.zeros((steps, 2))
            emissions[: steps // 2, 1], emissions[steps // 2 :, 0] = size, size + 0.5
            compare((emissions, stay, [0.0, 0.0], [0.0, 0.0]), dtype, 1e-6)


@pytest.mark.parametrize("reach", [10.0, 100.0, 1000.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_all_sizes(dtype, reach):
    for seed in range(40):
        T, K = (1, 2, 3, 10, 50)[seed % 5], (1, 2, 5, 9)[seed % 4]
        compare(scattered(T, K, reach, seed), dtype, 1e-6 if dtype == torch.float32 else 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("reach", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ten_thousand_steps(dtype, reach):
    draw = np.random.default_rng(0)
    for spread in ((1.0, reach), (reach, 1.0), (reach, reach)):
        emissions, transitions = draw.normal(size=(10_000, 4)) * spread[0], draw.normal(size=(4, 4)) * spread[1]
        compare((emissions, transitions, np.zeros(4), np.zeros(4)), dtype, 1e-6)


def test_the_best_of_ten_thousand_steps_in_float32():
    draw = np.random.default_rng(0)
    for offset in (0.0, 50.0):
        emissions, transitions = draw.normal(size=(10_000, 5)) + offset, draw.normal(size=(5, 5))
        wide = [
            torch.tensor(part).float().double() for part in (emissions[:, None], transitions, np.zeros(5), np.zeros(5))
        ]
        best, single = chain.viterbi(*wide), chain.viterbi(*(part.float() for part in wide))
        assert single.score.item() == pytest.approx(best.score.item(), rel=1e-6)
        rescored = chain.path_score(wide[0], single.tags, *wide[1:])
        assert rescored.item() == pytest.approx(best.score.item(), rel=1e-9)


def test_the_difference_of_large_scores_keeps_its_digits():
    draw = torch.Generator().manual_seed(0)
    emissions = torch.randn(2000, 1, 4, generator=draw) * 1e4
    scores = [torch.randn(shape, generator=draw) for shape in ((4, 4), (4,), (4,))]
    tags = emissions.argmax(dim=2)
    tags[5] = (tags[5] + 1) % 4
    expected = chain.log_likelihood(emissions.double(), tags, *(part.double() for part in scores))
    found = chain.log_likelihood(emissions, tags, *scores)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    allowed = emissions.masked_fill(torch.arange(4) == 3, NEVER)
    parts = (emissions + 50, allowed + 50, *scores)
    share = chain.log_share(*(part.double() for part in parts))
    assert chain.log_share(*parts).item() == pytest.approx(share.item(), rel=1e-6)


def test_a_parameter_may_change_between_forward_and_backward():
    draw = torch.Generator().manual_seed(0)
    emissions, transitions = (torch.randn(s, generator=draw, dtype=torch.float64) for s in ((5, 2, 3), (3, 3)))
    zeros = torch.zeros(3, dtype=torch.float64)
    gradients = []
    for change in (False, True):
        leaf = transitions.clone().requires_grad_()
        value = chain.log_partition(emissions, leaf, zeros, zeros).sum()
        if change:
            with torch.no_grad():
                leaf.add_(1.0)
        value.backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)
