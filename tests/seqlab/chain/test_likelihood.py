"""The fused log-likelihood, its numerics over long rows, and the operator that torch.compile takes."""

import numpy as np
import pytest
import torch

from seqlab import chain, kernels
from seqlab.errors import ShapeError

NEVER = float("-inf")


@pytest.fixture(params=["numba", "torch"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    with kernels.use_backend(request.param):
        yield request.param


def example(T=6, B=3, K=4, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    emissions, *moves = (torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes)
    return emissions, torch.randint(K, (T, B), generator=draw), *moves


def log_domain_oracle(emissions, transitions, start, end):
    """log Z of one row by the textbook's recursion in float64; (T, K), (K, K), (K,), (K,) arrays."""
    alpha = start + emissions[0]
    for emitted in emissions[1:]:
        alpha = np.logaddexp.reduce(alpha[:, None] + transitions, axis=0) + emitted
    return np.logaddexp.reduce(alpha + end)


def test_is_score_less_log_partition(backend):
    emissions, tags, *moves = example()
    lengths = torch.tensor([6, 0, 3])
    found = chain.log_likelihood(emissions, tags, *moves, lengths)
    score = chain.path_score(emissions, tags, *moves, lengths)
    torch.testing.assert_close(found, score - chain.log_partition(emissions, *moves, lengths))
    assert found[1] == 0


@pytest.mark.parametrize("uniform", [True, False])
def test_gradient(backend, uniform):
    emissions, tags, *moves = example(T=4)
    lengths, weights = torch.tensor([4, 0, 3]), torch.tensor([1.0, 1.0, 1.0 if uniform else -2.5]).double()
    parts = [part.requires_grad_() for part in (emissions, *moves)]
    torch.autograd.gradcheck(lambda e, *m: chain.log_likelihood(e, tags, *m, lengths) * weights, parts)


def test_batch_first_memory(backend):
    emissions, tags, *moves = example()
    turned = emissions.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    strided = torch.stack([emissions, emissions], dim=3)[..., 0]
    expected = chain.log_likelihood(emissions, tags, *moves)
    for same in (turned, strided):
        torch.testing.assert_close(chain.log_likelihood(same, tags.T.contiguous().T, *moves), expected)
    chain.log_likelihood(turned, tags, *moves).sum().backward()
    emissions.requires_grad_()
    chain.log_likelihood(emissions, tags, *moves).sum().backward()
    torch.testing.assert_close(turned.grad, emissions.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_accumulate_wider(backend, dtype):
    emissions, tags, *moves = example(T=200, dtype=dtype)
    found = chain.log_likelihood(emissions.requires_grad_(), tags, *moves)
    exact = chain.log_likelihood(emissions.double(), tags, *(m.double() for m in moves))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-3)
    found.sum().backward()
    assert emissions.grad.dtype == dtype
    assert emissions.grad.isfinite().all()


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_tag_out_of_range(backend, wrong):
    emissions, tags, *moves = example()
    tags[1, 1] = wrong
    with pytest.raises(ShapeError, match=f"tags must lie in 0 … 3, got {wrong}"):
        chain.log_likelihood(emissions, tags, *moves)


def test_forbidden_tags_have_no_likelihood_and_no_nan(backend):
    emissions, tags, *moves = example()
    moves[0][tags[0, 0], tags[1, 0]] = NEVER
    found = chain.log_likelihood(emissions.requires_grad_(), tags, *moves)
    assert found[0] == NEVER
    assert not found.isnan().any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 2, 3, 4])
def test_nan_and_infinity_are_named(backend, bad, place):
    parts = list(example())
    parts[place].view(-1)[1] = bad
    name = {0: "emissions", 2: "transitions", 3: "start", 4: "end"}[place]
    with pytest.raises(ShapeError, match=f"{name} must hold no NaN"):
        chain.log_likelihood(*parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-30])
@pytest.mark.parametrize("forbidden", [None, NEVER, -1e4])
def test_ten_thousand_steps(backend, dtype, scale, forbidden):
    T, K = 10_000, 3
    emissions, _, *moves = (part.to(dtype) for part in example(T, 1, K, dtype=dtype))
    emissions = emissions * scale
    if forbidden is not None:
        moves[0][0, 1] = moves[0][2, 2] = forbidden
    truth = log_domain_oracle(emissions[:, 0].double().numpy(), *(m.double().numpy() for m in moves))
    parts = [part.requires_grad_() for part in (emissions, *moves)]
    found = chain.log_partition(*parts)
    assert found.item() == pytest.approx(truth, rel=1e-6)
    found.sum().backward()
    assert all(part.grad.isfinite().all() for part in parts)
    torch.testing.assert_close(parts[0].grad.double().sum(dim=2), torch.ones(T, 1).double(), rtol=1e-4, atol=1e-4)
    assert parts[1].grad.double().sum().item() == pytest.approx(T - 1, rel=1e-4)


def test_constant_memory_for_the_number_of_tags_squared():
    """Nothing of size T · K · K is kept: 2,000 steps of 300 tags would be 720 MB a row."""
    pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    resource = pytest.importorskip("resource")
    emissions, tags, *moves = example(2000, 1, 300, dtype=torch.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chain.log_likelihood(emissions.requires_grad_(), tags, *moves).sum().backward()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 200_000


def test_inside_torch_compile(backend):
    emissions, tags, *moves = example(dtype=torch.float32)
    parts = [part.requires_grad_() for part in (emissions, *moves)]
    lengths = torch.tensor([6, 4, 1])

    def loss(emissions, transitions, start, end):
        return -chain.log_likelihood(emissions * 2, tags, transitions, start, end, lengths).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for one, other in zip(*(torch.autograd.grad(f(*parts), parts) for f in (loss, compiled)), strict=True):
        torch.testing.assert_close(one, other)
