"""Entropy and divergence against the sum over all paths."""

import importlib
import math

import pytest
import torch

from seqlab.chain.entropy import Scores, entropy, kl
from seqlab.errors import ShapeError
from tests.seqlab import oracles

NEVER = float("-inf")


def random_chain(T, B, K, seed=0, scale=1.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    return [torch.randn(shape, generator=draw, dtype=dtype) * scale for shape in shapes]


def log_probabilities(parts, b, n):
    emissions, transitions, start, end = (part.double().tolist() for part in parts)
    row = [step[b] for step in emissions[:n]]
    scores = [oracles.score_of(path, row, transitions, start, end) for path in oracles.all_paths(n, len(start))]
    top = max(scores)
    if top == NEVER:
        return [NEVER] * len(scores)
    log_z = top + math.log(math.fsum(math.exp(score - top) for score in scores))
    return [score - log_z for score in scores]


def true_entropy(parts, b, n):
    logs = log_probabilities(parts, b, n)
    return -math.fsum(math.exp(log) * log for log in logs if log > NEVER)


def true_kl(p, q, b, n):
    pairs = zip(log_probabilities(p, b, n), log_probabilities(q, b, n), strict=True)
    return math.fsum(math.exp(one) * (one - other) for one, other in pairs if one > NEVER)


def forbid(parts, seed, share):
    draw = torch.Generator().manual_seed(seed)
    for part in parts:
        part[torch.rand(part.shape, generator=draw) < share] = NEVER
    return parts


@pytest.fixture(params=[1, 2**18], autouse=True)
def _block(request, monkeypatch):
    """Run with one step a block, and with all steps in one."""
    monkeypatch.setattr(importlib.import_module("seqlab.chain.entropy"), "BLOCK_NUMBERS", request.param)


@pytest.mark.parametrize(("T", "K"), [(1, 1), (1, 3), (5, 1), (2, 2), (5, 3), (4, 4)])
def test_agree_with_enumeration(T, K):
    p, q, lengths = random_chain(T, 4, K, 0), random_chain(T, 4, K, 1), [T, max(T - 1, 0), 0, 1]
    own, apart = entropy(*p, torch.tensor(lengths)), kl(tuple(p), Scores(*q), torch.tensor(lengths))
    for b, n in enumerate(lengths):
        assert own[b].item() == pytest.approx(true_entropy(p, b, n), rel=1e-9, abs=1e-12)
        assert apart[b].item() == pytest.approx(true_kl(p, q, b, n), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_forbidden_scores(share):
    lengths = torch.tensor([4, 3, 1])
    for seed in range(15):
        p, q = (forbid(random_chain(4, 3, 3, seed + o), seed + o, share) for o in (0, 100))
        free = random_chain(4, 3, 3, seed + 200)
        found = entropy(*p, lengths), kl(p, q, lengths), kl(p, free, lengths), kl(p, p, lengths)
        for b, n in enumerate(lengths.tolist()):
            assert found[0][b].item() == pytest.approx(true_entropy(p, b, n), rel=1e-9, abs=1e-12)
            assert found[1][b].item() == pytest.approx(true_kl(p, q, b, n), rel=1e-9, abs=1e-12)
            assert found[2][b].item() == pytest.approx(true_kl(p, free, b, n), rel=1e-9, abs=1e-12)
            assert found[3][b] == 0


@pytest.mark.parametrize("scale", [1e4, 30.0, 1e-30])
def test_extreme_scores(scale):
    for seed in range(5):
        p, q = random_chain(4, 2, 3, seed, scale), random_chain(4, 2, 3, seed + 9, scale)
        own, apart = entropy(*p), kl(p, q)
        for b in range(2):
            assert own[b].item() == pytest.approx(true_entropy(p, b, 4), rel=1e-9, abs=1e-11)
            assert apart[b].item() == pytest.approx(true_kl(p, q, b, 4), rel=1e-9, abs=1e-11)


def test_one_path_has_entropy_zero_exactly():
    parts = random_chain(50, 2, 3, scale=1e4)
    parts[1][:] = NEVER
    parts[1][0, 1] = parts[1][1, 2] = parts[1][2, 0] = 7.3
    parts[2][1:] = NEVER
    assert (entropy(*parts) == 0).all()


@pytest.mark.parametrize("gap", [10.0, 40.0, 300.0])
def test_a_tiny_entropy_keeps_its_digits(gap):
    # Two states a step, independent, with log-odds `gap`: n times the entropy of one.
    emissions = torch.zeros(6, 1, 2, dtype=torch.float64)
    emissions[:, :, 1] = -gap
    flat = torch.zeros(2, dtype=torch.float64)
    small = math.exp(-gap) / (1 + math.exp(-gap))
    one = small * (gap + math.log1p(math.exp(-gap))) - (1 - small) * math.log1p(-small)
    assert entropy(emissions, torch.zeros(2, 2), flat, flat).item() == pytest.approx(6 * one, rel=1e-12)


def test_near_chains_have_a_small_divergence():
    p = random_chain(4, 2, 3)
    q = [part + 1e-5 * other for part, other in zip(p, random_chain(4, 2, 3, 7), strict=True)]
    found = kl(p, q)
    assert (found > 0).all()
    for b in range(2):
        logs = zip(log_probabilities(p, b, 4), log_probabilities(q, b, 4), strict=True)
        truth = math.fsum(math.exp(one) * (math.expm1(other - one) - (other - one)) for one, other in logs)
        assert found[b].item() == pytest.approx(truth, rel=1e-4)


def test_a_long_row_of_large_scores():
    parts = random_chain(10_000, 1, 3, 1, 1e4)
    # Independent steps: their entropies add up, and each is known.
    parts[1].zero_()
    parts[0][::2] /= 1e4
    parts[2].zero_()
    parts[3].zero_()
    logs = parts[0].log_softmax(dim=2)
    truth = -(logs.exp() * logs).sum()
    torch.testing.assert_close(entropy(*parts)[0], truth, rtol=1e-9, atol=0)
    coupled = random_chain(10_000, 1, 3, 2, 1e4)
    assert entropy(*coupled).isfinite().all()
    assert kl(coupled, parts).isfinite().all()


def test_uniform_chain():
    flat = [torch.zeros(shape) for shape in [(7, 2, 4), (4, 4), (4,), (4,)]]
    torch.testing.assert_close(entropy(*flat, torch.tensor([7, 3])), torch.tensor([7.0, 3.0]) * math.log(4))


def test_gradients():
    p, q = random_chain(4, 3, 3, 5), random_chain(4, 3, 3, 6)
    for part in p + q:
        part.requires_grad_()
    lengths = torch.tensor([4, 2, 0])
    assert torch.autograd.gradcheck(lambda *x: entropy(*x, lengths), p)
    assert torch.autograd.gradcheck(lambda *x: kl(x[:4], x[4:], lengths), p + q)
    short = [part.detach()[:2, :2] if part.dim() == 3 else part.detach() for part in p]
    assert torch.autograd.gradgradcheck(entropy, [part.clone().requires_grad_() for part in short])


def test_gradients_are_finite_where_scores_are_forbidden():
    for seed in range(10):
        p, q = (forbid(random_chain(4, 3, 3, seed + o), seed + o, 0.35) for o in (0, 50))
        for found, parts in ((entropy, [p]), (kl, [p, q]), (kl, [q, p])):
            inputs = [[part.clone().requires_grad_() for part in scores] for scores in parts]
            result = found(*inputs[0]) if found is entropy else found(*inputs)
            result.sum().backward()
            for part in (part for scores in inputs for part in scores):
                assert part.grad.isfinite().all()
                assert (part.grad[part.detach() == NEVER] == 0).all()


def test_padding_is_never_read():
    p, q, lengths = random_chain(5, 3, 2), random_chain(5, 3, 2, 1), torch.tensor([5, 2, 0])
    own, apart = entropy(*p, lengths), kl(p, q, lengths)
    p[0][2:, 1], q[0][:, 2] = float("nan"), NEVER
    p[0].requires_grad_()
    again = entropy(*p, lengths)
    assert torch.equal(again, own)
    assert torch.equal(kl(p, q, lengths), apart)
    again.sum().backward()
    assert p[0].grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_come_back_at_least_float32(dtype):
    parts = [part.to(dtype) for part in random_chain(4, 2, 3)]
    found = entropy(*parts)
    assert found.dtype == torch.float32
    assert found[0].item() == pytest.approx(true_entropy(parts, 0, 4), rel=1e-5)


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 0, 2)])
def test_empty_batches(shape):
    K = shape[2]
    parts = [torch.zeros(shape).requires_grad_(), torch.zeros(K, K), torch.zeros(K), torch.zeros(K)]
    for found in (entropy(*parts), kl(parts, parts)):
        assert found.shape == (shape[1],)
        assert (found == 0).all()
        found.sum().backward()


def test_bad_input_is_named():
    p = random_chain(3, 2, 2)
    with pytest.raises(ShapeError, match="p and q must have emissions of the same shape"):
        kl(p, random_chain(4, 2, 2))
    p[1][0, 0] = float("inf")
    with pytest.raises(ShapeError, match="transitions must hold no NaN and no"):
        entropy(*p)
