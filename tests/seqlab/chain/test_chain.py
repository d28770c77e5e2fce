"""The engine against brute force: masks, lengths, extreme and forbidden scores, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlab import chain, kernels
from seqlab.chain.messages import scaled_messages, scaled_suits
from seqlab.errors import ShapeError
from tests.seqlab import oracles

NEVER = float("-inf")


@pytest.fixture(params=["numba", "torch"], autouse=True)
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install 'seqlab[numba]'")
    with kernels.use_backend(request.param):
        yield request.param


def random_chain(T, B, K, seed=0, scale=1.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(T, B, K), (K, K), (K,), (K,)]
    return [torch.randn(shape, generator=draw, dtype=dtype) * scale for shape in shapes]


def compare_with_enumeration(parts, lengths, rel=1e-9):
    emissions, transitions, start, end = parts
    counts = chain.expected_counts(*parts, lengths)
    best = chain.viterbi(*parts, lengths)
    log_z = chain.log_partition(*parts, lengths)
    moves = torch.zeros_like(transitions, dtype=torch.float64)
    for b, n in enumerate(lengths.tolist()):
        row = [e[b].tolist() for e in emissions[:n]]
        truth = oracles.enumerate_chain(row, transitions.tolist(), start.tolist(), end.tolist())
        if n == 0:
            assert log_z[b] == best.score[b] == 0
            continue
        assert log_z[b].item() == pytest.approx(truth.log_partition, rel=rel, abs=rel)
        assert counts.log_partition[b].item() == pytest.approx(truth.log_partition, rel=rel, abs=rel)
        assert best.score[b].item() == pytest.approx(truth.best_score, rel=rel, abs=rel)
        if truth.best_score > NEVER:
            path = best.tags[:n, b].tolist()
            found = oracles.score_of(path, row, transitions.tolist(), start.tolist(), end.tolist())
            assert found == pytest.approx(truth.best_score, rel=rel, abs=rel)
        torch.testing.assert_close(counts.states[:n, b], torch.tensor(truth.states).double(), rtol=0, atol=1e-7)
        assert (counts.states[n:, b] == 0).all()
        assert (best.tags[n:, b] == -1).all()
        moves += torch.tensor(truth.moves)
    torch.testing.assert_close(counts.transitions, moves, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("T", "K"), [(1, 1), (1, 3), (5, 1), (2, 2), (5, 3), (4, 4)])
def test_agrees_with_enumeration(T, K):
    lengths = torch.tensor([T, max(T - 1, 0), 0, 1])
    compare_with_enumeration(random_chain(T, 4, K), lengths)


@pytest.mark.parametrize("forbidden", [NEVER, -1e4])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_forbidden_transitions(forbidden, share):
    for seed in range(10):
        parts = random_chain(5, 3, 3, seed)
        draw = torch.Generator().manual_seed(seed)
        for part in parts[1:]:
            part[torch.rand(part.shape, generator=draw) < share] = forbidden
        compare_with_enumeration(parts, torch.tensor([5, 3, 1]))


@pytest.mark.parametrize("scale", [1e4, 1e-30, 300.0, 40.0])
def test_extreme_scores(scale):
    for seed in range(5):
        compare_with_enumeration(random_chain(5, 3, 3, seed, scale), torch.tensor([5, 4, 1]))


def test_forbidden_emissions():
    parts = random_chain(4, 2, 3)
    parts[0][1, 0, :2] = NEVER
    parts[0][2, 1, :] = -1e4
    compare_with_enumeration(parts, torch.tensor([4, 3]))


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**31),
    st.lists(st.sampled_from([0.0, 1.0, -3.5, 80.0, -1e4, 1e4, NEVER]), min_size=30, max_size=30),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_mixture_of_scores(T, K, seed, values):
    parts = random_chain(T, 2, K, seed % 1000)
    pool = torch.tensor(values).double()
    draw = torch.Generator().manual_seed(seed)
    for part in parts:
        chosen = torch.rand(part.shape, generator=draw, dtype=torch.float64) < 0.4
        part[chosen] = pool[torch.randint(30, (int(chosen.sum()),), generator=draw)]
    compare_with_enumeration(parts, torch.tensor([T, 1]))


def test_scaled_and_log_paths_agree_on_long_chains():
    T, B, K = 2000, 3, 5
    emissions, transitions, start, end = parts = random_chain(T, B, K, scale=3.0)
    assert scaled_suits(*parts)
    scaled = chain.log_partition(*parts)
    # An extra state that nothing enters and nothing leaves forces the logarithmic path.
    emissions = torch.cat([emissions, torch.zeros(T, B, 1).double()], dim=2)
    wide = torch.full((K + 1, K + 1), NEVER).double()
    wide[:K, :K] = transitions
    edge = torch.full((1,), NEVER).double()
    barred = [emissions, wide, torch.cat([start, edge]), torch.cat([end, edge])]
    assert not scaled_suits(*barred)
    torch.testing.assert_close(chain.log_partition(*barred), scaled, rtol=1e-12, atol=0)
    single = [part.float() for part in parts]
    torch.testing.assert_close(chain.log_partition(*single).double(), scaled, rtol=1e-6, atol=0)
    assert chain.viterbi(*parts).score.isfinite().all()


def test_constrained_labels_take_the_fast_path_and_are_right():
    parts = random_chain(6, 2, 4)
    allowed = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]], dtype=torch.bool)
    parts[1].masked_fill_(~allowed, NEVER)
    assert scaled_suits(*parts)
    compare_with_enumeration(parts, torch.tensor([6, 5]))


def test_a_path_lost_to_underflow_is_noticed():
    """All mass sits where the end forbids it; only a path 1e-400 times as likely remains."""
    emissions = torch.tensor([[[0.0, -900.0]]]).double()
    flat, end = torch.zeros(2, 2).double(), torch.tensor([NEVER, 0.0]).double()
    start = torch.zeros(2).double()
    assert scaled_suits(emissions, flat, start, end)
    assert scaled_messages(emissions.unsqueeze(1), flat.unsqueeze(0), start.unsqueeze(0)) is not None
    assert chain.log_partition(emissions, flat, start, end).item() == pytest.approx(-900.0)


def test_padding_may_hold_anything():
    emissions, *rest = random_chain(4, 2, 3)
    lengths = torch.tensor([4, 2])
    spoiled = emissions.clone()
    spoiled[2:, 1] = float("nan")
    for function in (chain.log_partition, chain.marginals):
        assert torch.equal(function(emissions, *rest, lengths), function(spoiled, *rest, lengths))
    assert torch.equal(chain.viterbi(emissions, *rest, lengths).tags, chain.viterbi(spoiled, *rest, lengths).tags)
    tags = torch.tensor([[0, 1], [2, 2], [1, -100], [0, 99]])
    score = chain.path_score(spoiled, tags, *rest, lengths)
    row = [e[1].tolist() for e in emissions[:2]]
    assert score[1].item() == pytest.approx(oracles.score_of([1, 2], row, *(r.tolist() for r in rest)))


@pytest.mark.parametrize("forbidden", [None, NEVER, -1e4])
def test_gradcheck(forbidden):
    parts = random_chain(4, 3, 3)
    if forbidden is not None:
        parts[1][0, 1] = forbidden
        parts[1][2, 0] = forbidden
    parts = [part.requires_grad_() for part in parts]
    lengths = torch.tensor([4, 2, 0])
    if forbidden == NEVER:  # finite differences cannot step away from −inf: let them move the rest
        fixed = parts[1].detach()
        blocked = fixed == NEVER
        free = fixed.masked_fill(blocked, 0.0).requires_grad_()

        def function(e, a, s, f):
            return chain.log_partition(e, a.masked_fill(blocked, NEVER), s, f, lengths)

        assert torch.autograd.gradcheck(function, (parts[0], free, parts[2], parts[3]))
    else:
        assert torch.autograd.gradcheck(lambda *p: chain.log_partition(*p, lengths), parts)


def test_gradcheck_of_the_path_score():
    parts = [part.requires_grad_() for part in random_chain(4, 2, 3)]
    tags, lengths = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]]), torch.tensor([4, 2])

    def score(*p):
        return chain.path_score(p[0], tags, *p[1:], lengths)

    assert torch.autograd.gradcheck(score, parts)
    assert torch.autograd.gradgradcheck(score, parts)


def test_impossible_row_gives_minus_infinity_and_zero_gradient():
    parts = [part.requires_grad_() for part in random_chain(3, 2, 2)]
    barred = parts[0].detach().clone()
    barred[1, 0] = NEVER
    barred.requires_grad_()
    log_z = chain.log_partition(barred, *parts[1:])
    assert log_z[0] == NEVER
    log_z[1].backward()
    gradients = [barred.grad, *(part.grad for part in parts[1:])]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (barred.grad[:, 0] == 0).all()


def test_second_derivative_is_refused_clearly():
    parts = [part.requires_grad_() for part in random_chain(3, 2, 2)]
    with pytest.raises(RuntimeError, match="LogPartition has no second derivative"):
        torch.autograd.grad(chain.log_partition(*parts).sum(), parts[0], create_graph=True)


def test_result_dtype_and_half_precision():
    for dtype, expected in [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)]:
        parts = random_chain(3, 2, 2, dtype=dtype)
        assert chain.log_partition(*parts).dtype == expected
        assert chain.viterbi(*parts).score.dtype == expected
        parts[0].requires_grad_()
        chain.log_partition(*parts).sum().backward()
        assert parts[0].grad.dtype == dtype


def test_empty_batch_and_no_steps():
    for T, B in [(0, 2), (3, 0)]:
        parts = random_chain(T, B, 2)
        parts[0].requires_grad_()
        chain.log_partition(*parts).sum().backward()
        assert chain.log_partition(*parts).tolist() == [0.0] * B
        assert chain.viterbi(*parts).tags.shape == (T, B)
        assert chain.expected_counts(*parts).states.shape == (T, B, 2)


def test_ties_take_the_lowest_states():
    zeros = [torch.zeros(shape) for shape in [(3, 1, 4), (4, 4), (4,), (4,)]]
    assert chain.viterbi(*zeros).tags.flatten().tolist() == [0, 0, 0]
    assert chain.log_partition(*zeros).item() == pytest.approx(3 * math.log(4))


def test_masks_and_lengths():
    lengths = torch.tensor([2, 0, 3])
    mask = chain.mask_from_lengths(lengths, 3)
    assert mask.T.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert torch.equal(chain.lengths_from_mask(mask.to(torch.uint8)), lengths)
    with pytest.raises(ShapeError, match="row 1 has a token after padding"):
        chain.lengths_from_mask(torch.tensor([[1, 1], [1, 0], [0, 1]]))
    with pytest.raises(ShapeError, match="dimension of 2"):
        chain.lengths_from_mask(torch.ones(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emissions": torch.zeros(3, 2)}, "emissions must have dimension of 3"),
        ({"emissions": torch.zeros(3, 2, 2, dtype=torch.int64)}, "floating"),
        ({"emissions": torch.zeros(3, 2, 0)}, "K = 0"),
        ({"transitions": torch.zeros(3, 2)}, r"transitions must have shape \(2, 2\)"),
        ({"start": torch.zeros(3)}, "start must have shape"),
        ({"end": torch.zeros(2, 1)}, "end must have shape"),
        ({"lengths": torch.tensor([1, 4])}, r"0 … 3, got 1 … 4"),
        ({"lengths": torch.tensor([1])}, "lengths must have shape"),
        ({"lengths": torch.tensor([1.0, 2.0])}, "integers"),
        ({"emissions": torch.full((3, 2, 2), float("nan"))}, "emissions must hold no NaN"),
        ({"end": torch.tensor([0.0, float("inf")])}, r"end must hold no NaN and no \+inf"),
    ],
)
def test_bad_input(change, message):
    names = ["emissions", "transitions", "start", "end"]
    arguments = dict(zip(names, random_chain(3, 2, 2), strict=True)) | {"lengths": None} | change
    with pytest.raises(ShapeError, match=message):
        chain.log_partition(**arguments)


def test_nan_is_refused_by_viterbi():
    emissions, *rest = random_chain(3, 2, 2)
    emissions[1, 1, 0] = float("nan")
    with pytest.raises(ShapeError, match="got nan at step 1 of row 1"):
        chain.viterbi(emissions, *rest)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("K", [3, 9, 20])
def test_whatever_is_no_score_is_refused_by_viterbi_wherever_it_stands(K, wrong):
    for place in range(K):
        parts = random_chain(40, 2, K)
        parts[0][17, 1, place] = wrong
        with pytest.raises(ShapeError, match=r"at step 17 of row 1"):
            chain.viterbi(*parts)
        for number in (1, 2, 3):
            parts = random_chain(2, 2, K)
            parts[number][..., place] = wrong
            with pytest.raises(ShapeError, match=r"must hold no NaN and no \+inf"):
                chain.viterbi(*parts)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), "tags must have shape"),
        (torch.zeros(3, 2), "integers"),
        (torch.tensor([[0, 2], [0, 0], [0, 0]]), "got 2"),
        (torch.tensor([[0, -1], [0, 0], [0, 0]]), "got -1"),
    ],
)
def test_bad_tags(tags, message):
    emissions, *rest = random_chain(3, 2, 2)
    with pytest.raises(ShapeError, match=message):
        chain.path_score(emissions, tags, *rest)
