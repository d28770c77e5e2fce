"""`seqlab.crf.CRF` next to pytorch-crf: the same parameters, the same calls, the same answers and messages."""

import inspect

import pytest
import torch

from seqlab.crf import CRF

torchcrf = pytest.importorskip("torchcrf", reason="pip install pytorch-crf==0.7.2")

REDUCTIONS = ["none", "sum", "mean", "token_mean"]
SHAPES = [(1, 1, 1), (1, 4, 3), (7, 1, 5), (6, 4, 1), (5, 3, 2), (9, 8, 6), (30, 5, 12)]  # (T, B, K)


def pair(num_tags, batch_first=False, scale=1.0):
    ours, peer = CRF(num_tags, batch_first=batch_first), torchcrf.CRF(num_tags, batch_first=batch_first)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(10 * scale)
    peer.load_state_dict(ours.state_dict())
    return ours, peer


def batch(T, B, K, *, batch_first=False, ragged=True, mask_dtype=torch.bool):
    emissions, tags = torch.randn(T, B, K), torch.randint(K, (T, B))
    lengths = torch.randint(1, T + 1, (B,)) if ragged else torch.full((B,), T)
    mask = (torch.arange(T).unsqueeze(1) < lengths).to(mask_dtype)
    if batch_first:
        return emissions.transpose(0, 1), tags.T, mask.T
    return emissions, tags, mask


def gradients(crf, emissions, tags, mask, reduction):
    emissions = emissions.detach().clone().requires_grad_()
    crf.zero_grad()
    value = crf(emissions, tags, mask, reduction=reduction)
    value.sum().backward()
    # With one time step the peer's transitions get no gradient, ours get zeros.
    zeros = torch.zeros_like
    named = {name: zeros(p) if p.grad is None else p.grad for name, p in crf.named_parameters()}
    return {"value": value.detach(), "emissions": emissions.grad} | named


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", ["none", "bool", "uint8"])
@pytest.mark.filterwarnings("ignore:where received a uint8 condition tensor")
def test_likelihood_gradients_and_decoding(shape, batch_first, masked, reduction):
    torch.manual_seed(sum(shape))
    ours, peer = pair(shape[2], batch_first, scale=3.0)
    dtype = torch.uint8 if masked == "uint8" else torch.bool
    emissions, tags, mask = batch(*shape, batch_first=batch_first, mask_dtype=dtype)
    mask = None if masked == "none" else mask
    found, expected = (gradients(crf, emissions, tags, mask, reduction) for crf in (ours, peer))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=2e-5, atol=2e-5)
    assert ours.decode(emissions, mask) == peer.decode(emissions, mask)


@pytest.mark.parametrize("seed", range(30))
def test_random_ragged_batches_decode_alike(seed):
    torch.manual_seed(seed)
    T, B, K = (int(torch.randint(1, top, ())) for top in (40, 20, 15))
    ours, peer = pair(K, scale=5.0)
    emissions, _, mask = batch(T, B, K)
    assert ours.decode(emissions, mask) == peer.decode(emissions, mask)


def test_ties_are_broken_alike():
    """Small integers as scores tie all the time, and add up without rounding."""
    torch.manual_seed(0)
    for _ in range(50):
        ours, peer = pair(4)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.copy_(torch.randint(-1, 2, parameter.shape))
        peer.load_state_dict(ours.state_dict())
        emissions, _, mask = batch(7, 5, 4)
        emissions = emissions.round()
        assert ours.decode(emissions, mask) == peer.decode(emissions, mask)


def complaint(crf, method, arguments):
    try:
        getattr(crf, method)(**arguments)
    except Exception as error:
        return error
    return None


def wrong_calls():
    good = {"emissions": torch.zeros(3, 2, 4), "tags": torch.zeros(3, 2, dtype=torch.int64)}
    late = torch.tensor([[1, 0], [1, 1], [1, 1]], dtype=torch.bool)
    changes = [
        {"emissions": torch.zeros(3, 2)},
        {"emissions": torch.zeros(3, 2, 4, 1)},
        {"emissions": torch.zeros(3, 2, 5)},
        {"emissions": torch.zeros(3, 2, 5), "tags": torch.zeros(1, 1).long()},
        {"emissions": torch.zeros(1, 2, 4)},
        {"tags": torch.zeros(2, 3).long()},
        {"tags": torch.zeros(3, 2, 2).long()},
        {"tags": torch.zeros(3).long()},
        {"tags": torch.zeros(2, 2).long(), "mask": torch.ones(1, 1).bool()},
        {"mask": torch.ones(2, 3).bool()},
        {"mask": torch.ones(3).bool()},
        {"mask": torch.ones(2, 2).bool(), "reduction": "avg"},
        {"mask": late},
        {"mask": late.byte()},
        {"mask": late.T.contiguous().T, "reduction": "avg"},
        {"mask": torch.zeros(3, 2).bool()},
        {"reduction": "avg"},
        {"reduction": ""},
        {"reduction": None},
    ]
    return [good | change for change in changes]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("number", range(len(wrong_calls())))
def test_errors_are_the_same_and_in_the_same_order(number, batch_first):
    arguments = wrong_calls()[number]
    if batch_first:
        arguments = {
            name: value.transpose(0, 1) if torch.is_tensor(value) and value.dim() > 1 else value
            for name, value in arguments.items()
        }
    ours, peer = pair(4, batch_first)
    for method in ("forward", "decode"):
        if method == "decode":
            arguments = {name: value for name, value in arguments.items() if name in ("emissions", "mask")}
        found, expected = complaint(ours, method, arguments), complaint(peer, method, arguments)
        if expected is None:
            assert found is None
            continue
        assert isinstance(found, type(expected))
        assert str(found) == str(expected)


@pytest.mark.parametrize("num_tags", [0, -3])
def test_a_bad_number_of_tags(num_tags):
    with pytest.raises(ValueError, match="number of tags") as found:
        CRF(num_tags)
    with pytest.raises(ValueError, match="number of tags") as expected:
        torchcrf.CRF(num_tags)
    assert str(found.value) == str(expected.value)


def test_the_signatures_begin_as_the_peers():
    for name in ("__init__", "forward", "decode", "reset_parameters"):
        ours = list(inspect.signature(getattr(CRF, name)).parameters.values())
        theirs = list(inspect.signature(getattr(torchcrf.CRF, name)).parameters.values())
        common = ours[: len(theirs)]
        assert [(p.name, p.default, p.kind) for p in common] == [(p.name, p.default, p.kind) for p in theirs]
        assert all(p.default is not inspect.Parameter.empty for p in ours[len(theirs) :])


def test_construction_and_state_dicts_are_exchangeable():
    torch.manual_seed(0)
    ours = CRF(5, True)
    torch.manual_seed(0)
    peer = torchcrf.CRF(5, True)
    assert (repr(ours), ours.num_tags, ours.batch_first) == (repr(peer), peer.num_tags, peer.batch_first)
    assert list(ours.state_dict()) == list(peer.state_dict())
    for name, values in peer.state_dict().items():
        assert torch.equal(ours.state_dict()[name], values)  # the same seed draws the same parameters
    ours.load_state_dict(torchcrf.CRF(5).state_dict())
    peer.load_state_dict(CRF(5).state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_result_has_the_peers_dtype(dtype):
    ours, peer = (crf.to(dtype) for crf in pair(3))
    emissions, tags, mask = batch(4, 2, 3)
    assert ours(emissions.to(dtype), tags, mask).dtype == peer(emissions.to(dtype), tags, mask).dtype == dtype
