"""`SemiMarkovCRF` against the enumeration of all segmentations, on both backends."""

import importlib.util
import itertools
import math

import numpy as np
import pytest
import torch

from seqlab import kernels
from seqlab.crf import CRF, SegmentTags, SemiMarkovCRF, forbid
from seqlab.errors import ShapeError

NEVER = float("-inf")
PARAMETERS = ["transitions", "start_transitions", "end_transitions", "durations"]


@pytest.fixture(params=["torch", "numba"])
def backend(request):
    if request.param == "numba" and importlib.util.find_spec("numba") is None:
        pytest.skip("pip install numba")
    with kernels.use_backend(request.param):
        yield request.param


def segmentations(length, num_tags, max_length):
    """All lists of (start, end, label) that cover 0 … length."""

    def cuts(start):
        if start == length:
            yield []
        for end in range(start + 1, min(length, start + max_length) + 1):
            for rest in cuts(end):
                yield [(start, end), *rest]

    for cut in cuts(0):
        for labels in itertools.product(range(num_tags), repeat=len(cut)):
            yield [(start, end, label) for (start, end), label in zip(cut, labels, strict=True)]


def score_of(segments, row, crf):
    """Score one segmentation; `row` is a list of n lists of K numbers."""
    if not segments:
        return 0.0
    total = crf.start_transitions[segments[0][2]].item() + crf.end_transitions[segments[-1][2]].item()
    for start, end, label in segments:
        total += crf.durations[label, end - start - 1].item() + sum(row[t][label] for t in range(start, end))
    pairs, _, _ = crf.transition_scores()
    return total + sum(pairs[a[2], b[2]].item() for a, b in itertools.pairwise(segments))


def make(num_tags=2, max_length=3, seed=0, scale=1.0, **options):
    torch.manual_seed(seed)
    crf = SemiMarkovCRF(num_tags, max_length, **options).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    return crf


def batch(T, B, K, lengths, scale=1.0):
    emissions = torch.randn(T, B, K, dtype=torch.float64) * scale
    mask = torch.arange(T).unsqueeze(1) < torch.tensor(lengths)
    emissions[~mask] = float("nan")  # the padding may hold anything
    return emissions, mask


@pytest.mark.parametrize(
    ("K", "L", "lengths"), [(2, 3, [5, 3, 1]), (1, 2, [5, 4, 2]), (3, 1, [3, 4, 1]), (2, 9, [4, 2, 5])]
)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_everything_agrees_with_enumeration(backend, K, L, lengths, scale):
    crf = make(K, L, scale=scale)
    emissions, mask = batch(max(lengths), len(lengths), K, lengths, scale)
    best, log_z = crf.decode(emissions, mask), crf.log_partition(emissions, mask)
    labels, segments = crf.marginals(emissions, mask), crf.segment_marginals(emissions, mask)
    assert labels[~mask].abs().sum() == 0
    for b, n in enumerate(lengths):
        row = emissions[:n, b].tolist()
        every = list(segmentations(n, K, L))
        scores = [score_of(z, row, crf) for z in every]
        top = max(scores)
        truth = top + math.log(math.fsum(math.exp(score - top) for score in scores))
        assert log_z[b].item() == pytest.approx(truth, rel=1e-12)
        assert [tuple(segment) for segment in best[b]] == every[scores.index(top)]
        assert crf.best_segments(emissions, mask).score[b].item() == pytest.approx(top)
        expected, found = torch.zeros_like(labels[:, b]), torch.zeros_like(segments[:, b])
        for z, score in zip(every, scores, strict=True):
            probability = math.exp(score - truth)
            for start, end, label in z:
                expected[start:end, label] += probability
                found[start, end - start - 1, label] += probability
        torch.testing.assert_close(labels[:, b], expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(segments[:, b], found, rtol=0, atol=1e-10)
        chosen = every[len(every) // 2]
        likelihood = crf(emissions[:n, b : b + 1], [chosen])
        assert likelihood.item() == pytest.approx(score_of(chosen, row, crf) - truth, rel=1e-9)


def test_gradients(backend):
    crf = make()
    emissions, mask = batch(4, 3, 2, [4, 3, 1])
    emissions = emissions.nan_to_num(0.0).requires_grad_()
    segments = [[(0, 1, 0), (1, 4, 1)], [(0, 3, 1)], [(0, 1, 0)]]

    def function(emissions, *parts):
        given = dict(zip(PARAMETERS, parts, strict=True))
        return torch.func.functional_call(crf, given, (emissions, segments, mask, "none"))

    parts = [getattr(crf, name).detach().clone().requires_grad_() for name in PARAMETERS]
    assert torch.autograd.gradcheck(function, (emissions, *parts))


def test_a_second_derivative_is_refused(backend):
    crf = make()
    emissions = torch.randn(4, 1, 2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(crf.log_partition(emissions).sum(), emissions, create_graph=True)


@pytest.mark.parametrize("value", [NEVER, -1e4, 1e4, 1e-30])
def test_extreme_scores(backend, value):
    """Against enumeration with some emissions, transitions and durations at the extreme."""
    crf = make(2, 3, constraints=forbid(2, [(0, 0)]) if value == NEVER else None)
    with torch.no_grad():
        crf.durations[1, 2] = value
        crf.transitions[1, 1] = value
    emissions, mask = batch(5, 2, 2, [5, 4])
    emissions[1, :, 1], emissions[3, 0, 0] = value, value
    emissions = emissions.nan_to_num(0.0, neginf=NEVER).requires_grad_()
    log_z = crf.log_partition(emissions, mask)
    log_z.sum().backward()
    assert all(part.grad.isfinite().all() for part in (emissions, *crf.parameters()))
    best = crf.decode(emissions, mask)
    for b, n in enumerate([5, 4]):
        row = emissions[:n, b].tolist()
        every = list(segmentations(n, 2, 3))
        scores = [score_of(z, row, crf) for z in every]
        top = max(scores)
        truth = top + math.log(math.fsum(math.exp(score - top) for score in scores))
        assert log_z[b].item() == pytest.approx(truth, rel=1e-9)
        assert score_of([tuple(part) for part in best[b]], row, crf) == pytest.approx(top, rel=1e-12)


def test_the_backends_agree_on_a_larger_batch():
    pytest.importorskip("numba", reason="pip install numba")
    crf = make(7, 6, scale=2.0)
    emissions, mask = batch(60, 9, 7, [60, 1, 33, 59, 2, 17, 60, 44, 6], scale=3.0)
    emissions = emissions.nan_to_num(0.0)
    results = []
    for name in ("torch", "numba"):
        with kernels.use_backend(name):
            crf.zero_grad()
            given = emissions.clone().requires_grad_()
            log_z = crf.log_partition(given, mask)
            (log_z * torch.arange(9.0)).sum().backward()
            results.append([log_z.detach(), given.grad, *(p.grad for p in crf.parameters())])
            results[-1] += [crf.marginals(given, mask), *crf.best_segments(given, mask)]
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


def test_ten_thousand_steps(backend):
    crf = make(3, 4, seed=2)
    T = 2000 if backend == "torch" else 10_000
    emissions = (torch.randn(T, 1, 3) * 1e4).requires_grad_()
    log_z = crf.log_partition(emissions)
    log_z.sum().backward()
    assert log_z.isfinite().all()
    assert emissions.grad.isfinite().all()
    # Scores add up to 1e8, whose float64 spacing is 1.5e-8; a step's posterior can be no better than a few of these.
    torch.testing.assert_close(emissions.grad.sum(dim=2), torch.ones(T, 1), rtol=1e-6, atol=1e-6)
    best = crf.best_segments(emissions)
    assert best.score.item() <= log_z.item() * (1 + 1e-6)
    decoded = crf.decode(emissions)[0]
    assert decoded[0].start == 0
    assert decoded[-1].end == T
    assert all(a.end == b.start for a, b in itertools.pairwise(decoded))


def test_segments_of_length_one_are_a_linear_chain(backend):
    """With L = 1 and no score of the length the semi-Markov CRF is the CRF."""
    semi, linear = make(4, 1), CRF(4).double()
    with torch.no_grad():
        semi.durations.zero_()
    linear.load_state_dict({name: values for name, values in semi.state_dict().items() if name != "durations"})
    emissions, mask = batch(6, 3, 4, [6, 2, 4])
    torch.testing.assert_close(semi.log_partition(emissions, mask), linear.log_partition(emissions, mask))
    torch.testing.assert_close(semi.marginals(emissions, mask), linear.marginals(emissions, mask))
    assert [[s.label for s in row] for row in semi.decode(emissions, mask)] == linear.decode(emissions, mask)


def test_reductions_layouts_and_both_forms_of_segments(backend):
    crf = make()
    other = SemiMarkovCRF(2, 3, batch_first=True).double()
    other.load_state_dict(crf.state_dict())
    emissions, mask = batch(4, 2, 2, [4, 3])
    segments = [[(0, 2, 1), (2, 3, 1), (3, 4, 0)], [(0, 3, 0)]]
    tags = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 9]])
    begins = torch.tensor([[1, 1], [0, 0], [1, 0], [1, 1]]).bool()
    rows = crf(emissions, segments, mask, reduction="none")
    assert torch.equal(crf(emissions, SegmentTags(tags, begins), mask, "none"), rows)
    swapped = (emissions.transpose(0, 1), SegmentTags(tags.T, begins.T), mask.T)
    assert torch.equal(other(*swapped, "none"), rows)
    assert other.decode(swapped[0], swapped[2]) == crf.decode(emissions, mask)
    assert torch.equal(other.marginals(swapped[0], swapped[2]).transpose(0, 1), crf.marginals(emissions, mask))
    assert crf(emissions, segments, mask).item() == pytest.approx(rows.sum().item())
    assert crf(emissions, segments, mask, "mean").item() == pytest.approx(rows.mean().item())
    assert crf(emissions, segments, mask, "token_mean").item() == pytest.approx(rows.sum().item() / 7)
    torch.testing.assert_close(crf.score(emissions, segments, mask) - crf.log_partition(emissions, mask), rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_emissions(backend, dtype):
    crf = make().float()
    emissions = torch.randn(5, 2, 2).to(dtype).requires_grad_()
    wide = emissions.detach().double()
    log_z = crf.log_partition(emissions)
    assert log_z.dtype == torch.float32
    torch.testing.assert_close(log_z.double(), crf.double().log_partition(wide), rtol=1e-6, atol=1e-6)
    log_z.sum().backward()
    assert emissions.grad.dtype == dtype


def test_empty_rows(backend):
    emissions, mask = batch(3, 2, 2, [3, 0])
    with pytest.raises(ShapeError, match="mask of the first timestep must all be on"):
        make().decode(emissions, mask)
    crf = make(allow_empty=True)
    assert crf(emissions, [[(0, 3, 1)], []], mask, "none")[1].item() == 0
    assert crf.decode(emissions, mask)[1] == []
    assert crf.log_partition(emissions, mask)[1].item() == 0


@pytest.mark.parametrize("masked", [False, True])
def test_no_steps_at_all(backend, masked):
    emissions = torch.zeros(0, 2, 3, requires_grad=True)
    with pytest.raises(ShapeError, match="emissions must hold at least one time step"):
        SemiMarkovCRF(3, 2).decode(emissions)
    crf = SemiMarkovCRF(3, 2, allow_empty=True, constraints=forbid(3, [(0, 0)], start=[0], end=[0]))
    mask = torch.zeros(0, 2, dtype=torch.bool) if masked else None
    likelihood = crf(emissions, [[], []], mask, reduction="none")
    assert likelihood.tolist() == crf.log_partition(emissions, mask).tolist() == [0.0, 0.0]
    likelihood.sum().backward()
    assert emissions.grad.shape == (0, 2, 3)
    assert all(parameter.grad.count_nonzero() == 0 for parameter in crf.parameters())
    assert crf.decode(emissions, mask) == [[], []]
    best = crf.best_segments(emissions, mask)
    assert (best.tags.shape, best.begins.shape, best.score.tolist()) == ((0, 2), (0, 2), [0.0, 0.0])
    assert crf.marginals(emissions, mask).shape == (0, 2, 3)
    assert crf.segment_marginals(emissions, mask).shape == (0, 2, 2, 3)
    tensors = SegmentTags(torch.zeros(0, 2).long(), torch.zeros(0, 2).bool())
    assert crf.score(emissions, tensors, mask).tolist() == [0.0, 0.0]
    with pytest.raises(ShapeError, match="segments of row 0 must cover"):
        crf(emissions, [[(0, 1, 0)], []], mask)


def test_training_learns_the_length():
    """The emissions say nothing but where the sequence ends: only `durations` can learn segments of three steps."""
    torch.manual_seed(0)
    crf = SemiMarkovCRF(1, 4)
    emissions, segments = torch.zeros(9, 2, 1), [[(0, 3, 0), (3, 6, 0), (6, 9, 0)]] * 2
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -crf(emissions, segments, reduction="mean")
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert crf.decode(torch.zeros(6, 1, 1)) == [[(0, 3, 0), (3, 6, 0)]]


def test_constraints(backend):
    crf = make(2, 2, constraints=forbid(2, moves=[(0, 0), (1, 1)]))
    decoded = crf.decode(torch.randn(50, 1, 2, dtype=torch.float64))[0]
    assert all(a.label != b.label for a, b in itertools.pairwise(decoded))
    with pytest.raises(ShapeError, match="segments of row 0 are impossible"):
        crf(torch.zeros(2, 1, 2), [[(0, 1, 0), (1, 2, 0)]])
    stuck = make(1, 2, constraints=forbid(1, moves=[(0, 0)]))
    with pytest.raises(ShapeError, match="no path is allowed for row 0 of length 3"):
        stuck.decode(torch.zeros(3, 1, 1))
    assert stuck.log_partition(torch.zeros(3, 1, 1)).item() == NEVER


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[(0, 2, 0)]], "segments must hold 2 rows, got 1"),
        ([[(0, 3, 0)], [(0, 2, 0)]], "segments of row 1 must end at step 3, got 2"),
        ([[(0, 3, 0)], [(0, 1, 0), (2, 3, 0)]], r"row 1 must cover steps 0 … 2 .* got \(2, 3, 0\) at step 1"),
        ([[(0, 3, 0)], [(0, 2, 0), (1, 3, 0)]], r"row 1 must cover"),
        ([[(0, 3, 0)], [(0, 4, 0)]], r"row 1 must cover"),
        ([[(0, 3, 0)], [(0, 0, 0), (0, 3, 0)]], r"row 1 must cover"),
        ([[(0, 3, 0)], [(0, 3, 5)]], "tags must lie in 0 … 1, got 5"),
        (SegmentTags(torch.zeros(3, 2).long(), torch.zeros(3, 2).bool()), "row 0 are wrong at step 0: the first step"),
        ([[(0, 3)], [(0, 3)]], r"segments of row 0 must be \(start, end, label\), got \(0, 3\)"),
        ([(0, 3, 1), (0, 3, 1)], r"segments of row 0 must be \(start, end, label\), got 0"),
        ([[(0, 3, 0.9)], [(0, 3, 0)]], r"label of a segment of row 0 must be an integer, got 0\.9"),
        ([[(0, 3, 0)], [(0.0, 3, 0)]], r"start of a segment of row 1 must be an integer, got 0\.0"),
        ([[(0, 3, 0)], [(0, 3.0, 0)]], r"end of a segment of row 1 must be an integer, got 3\.0"),
        ([[(0, 3, True)], [(0, 3, 0)]], "label of a segment of row 0 must be an integer, got True"),
        ([[(0, 3, "a")], [(0, 3, 0)]], "label of a segment of row 0 must be an integer, got 'a'"),
        (None, "segments must be lists of .* got None"),
        ([None, None], "segments of row 0 must be a list of .* got None"),
        (SegmentTags([[0]], torch.ones(3, 2).bool()), "tags must be a tensor, got list"),
        (SegmentTags(torch.zeros(3, 2).long(), None), "begins must be a tensor, got NoneType"),
        (
            SegmentTags(torch.zeros(3, 2).long(), torch.ones(3, 2)),
            r"begins must be bool or of integers, got torch\.float",
        ),
        (SegmentTags(torch.zeros(2, 2).long(), torch.ones(2, 2).bool()), r"tags must have shape \(3, 2\)"),
        (SegmentTags(torch.zeros(3, 2).long(), torch.ones(2, 2).bool()), r"begins must have shape \(3, 2\)"),
        (
            SegmentTags(torch.tensor([[0, 0], [0, 1], [0, 1]]), torch.tensor([[1, 1], [0, 0], [0, 0]])),
            "row 1 are wrong at step 1: a label must not change",
        ),
    ],
)
def test_bad_segments(segments, message):
    with pytest.raises(ShapeError, match=message):
        make(2, 3)(torch.zeros(3, 2, 2), segments)


def test_segments_of_other_integers():
    crf, emissions = make(2, 3), torch.zeros(3, 1, 2)
    expected = crf(emissions, [[(0, 3, 1)]])
    assert torch.equal(crf(emissions, [np.array([[0, 3, 1]])]), expected)
    assert torch.equal(crf(emissions, torch.tensor([[[0, 3, 1]]])), expected)


@pytest.mark.parametrize(("num_tags", "max_length", "name"), [(1.5, 2, "num_tags"), (3, 1.5, "max_length")])
def test_sizes_are_integers(num_tags, max_length, name):
    with pytest.raises(ShapeError, match=rf"{name} must be an integer, got 1\.5"):
        SemiMarkovCRF(num_tags, max_length)


def test_other_bad_input():
    crf = make(2, 2)
    with pytest.raises(ShapeError, match="row 0 are wrong at step 2: a segment must not be longer than 2 steps"):
        crf(torch.zeros(3, 1, 2), [[(0, 3, 0)]])
    with pytest.raises(ShapeError, match="emissions must hold no NaN and no"):
        crf.log_partition(torch.full((3, 1, 2), float("nan")))
    with pytest.raises(ShapeError, match="emissions must hold no NaN and no"):
        crf.decode(torch.full((3, 1, 2), float("inf")))
    with pytest.raises(ShapeError, match="emissions must be floating point"):
        crf.decode(torch.zeros(3, 1, 2, dtype=torch.int64))
    with pytest.raises(ShapeError, match="invalid reduction: avg"):
        crf(torch.zeros(1, 1, 2), [[(0, 1, 0)]], reduction="avg")
    with pytest.raises(ShapeError, match="invalid maximum length: 0"):
        SemiMarkovCRF(2, 0)
    with pytest.raises(ShapeError, match="invalid number of tags: 0"):
        SemiMarkovCRF(0, 2)
    assert repr(crf) == "SemiMarkovCRF(num_tags=2, max_length=2)"


def test_ten_thousand_steps_with_large_scores(backend):
    draw = torch.Generator().manual_seed(0)
    crf = SemiMarkovCRF(3, 4).double()
    emissions = torch.randn(10_000, 1, 3, generator=draw, dtype=torch.float64) * 1e4
    states, parts = crf.marginals(emissions), crf.segment_marginals(emissions)  # no gradients
    assert float((states.sum(dim=2) - 1).abs().max()) < 1e-6
    assert float(parts.max()) < 1 + 1e-6
    covered = (parts.sum(dim=(0, 1, 3)) * torch.arange(1, 5)).sum()  # each step once
    assert float(covered) == pytest.approx(10_000, rel=1e-6)


def test_the_difference_of_large_scores_keeps_its_digits(backend):
    draw = torch.Generator().manual_seed(0)
    crf = SemiMarkovCRF(3, 4)
    emissions = torch.randn(2000, 1, 3, generator=draw) + 50
    segments = [[(t, t + 2, (t // 2) % 3) for t in range(0, 2000, 2)]]
    found, expected = crf(emissions, segments), crf.double()(emissions.double(), segments)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
