"""What `CRF` tells about its distribution beyond the best path, against the enumeration of all paths."""

import itertools
import math

import pytest
import torch

from seqlab import kernels
from seqlab.crf import CRF, UNKNOWN, forbid
from seqlab.errors import ShapeError
from tests.seqlab import oracles

LENGTHS = [4, 3, 1]
NEVER = float("-inf")


@pytest.fixture(params=["torch", "numba"])
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="pip install numba")
    with kernels.use_backend(request.param):
        yield request.param


def make(seed=0, **options):
    torch.manual_seed(seed)
    crf = CRF(3, **options).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.mul_(10)
    return crf


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    mask = torch.arange(4).unsqueeze(1) < torch.tensor(LENGTHS)
    return torch.randn(4, 3, 3, generator=draw, dtype=torch.float64), mask


def distribution(crf, emissions, row, length):
    """Return {path: score} of one row and its log Z."""
    parts = [part.tolist() for part in crf.transition_scores()]
    row_scores = emissions[:length, row].tolist()
    scores = {path: oracles.score_of(path, row_scores, *parts) for path in oracles.all_paths(length, crf.num_tags)}
    top = max(scores.values())
    return scores, top + math.log(math.fsum(math.exp(score - top) for score in scores.values()))


def test_the_n_best_paths_and_their_scores(backend, batch):
    crf = make()
    found = crf.decode(*batch, nbest=5)
    for row, length in enumerate(LENGTHS):
        scores, _ = distribution(crf, batch[0], row, length)
        ranked = sorted(scores, key=scores.__getitem__, reverse=True)[:5]
        assert [tuple(path.tags) for path in found[row]] == ranked
        assert [path.score for path in found[row]] == pytest.approx([scores[path] for path in ranked])
    assert [len(paths) for paths in found] == [5, 5, 3]  # one step has only three paths
    assert [paths[0].tags for paths in found] == crf.decode(*batch)


def test_the_best_paths_as_tensors(backend, batch):
    crf, other = make(), make(batch_first=True)
    best = crf.best_paths(*batch)
    assert [best.tags[:n, row].tolist() for row, n in enumerate(LENGTHS)] == crf.decode(*batch)
    assert (best.tags[~batch[1]] == -1).all()
    assert best.score.tolist() == pytest.approx([paths[0].score for paths in crf.decode(*batch, nbest=1)])
    swapped = other.best_paths(batch[0].transpose(0, 1), batch[1].T)
    assert torch.equal(swapped.tags.T, best.tags)
    nbest = other.decode(batch[0].transpose(0, 1), batch[1].T, nbest=3)
    for found, expected in zip(nbest, crf.decode(*batch, nbest=3), strict=True):
        assert [path.tags for path in found] == [path.tags for path in expected]


def test_forbidden_paths_are_not_among_the_n_best(backend):
    crf = make(constraints=forbid(3, moves=[(0, 0), (1, 1), (2, 2), (0, 1), (1, 0)], start=[2]))
    found = crf.decode(torch.randn(3, 1, 3, dtype=torch.float64), nbest=100)[0]
    paths = {tuple(path.tags) for path in found}
    assert paths == {(0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1)}


def test_samples_follow_the_distribution(backend, batch):
    crf = make()
    drawn = crf.sample(*batch, num_samples=20_000, seed=3)
    assert drawn.shape == (20_000, 4, 3)
    assert (drawn[:, ~batch[1]] == -1).all()
    for row, length in enumerate(LENGTHS):
        scores, log_z = distribution(crf, batch[0], row, length)
        for path in itertools.islice(scores, 0, None, 5):
            share = (drawn[:, :length, row] == torch.tensor(path)).all(dim=1).double().mean().item()
            assert share == pytest.approx(math.exp(scores[path] - log_z), abs=0.02)


def test_samples_and_seeds(batch):
    crf, swapped = make(), make(batch_first=True)
    assert torch.equal(crf.sample(*batch, seed=5), crf.sample(*batch, seed=5))
    first, second = (crf.sample(*batch, 9, seed=torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, second)
    torch.manual_seed(7)
    first = crf.sample(*batch, 50)
    assert not torch.equal(first, crf.sample(*batch, 50))
    torch.manual_seed(7)
    assert torch.equal(first, crf.sample(*batch, 50))
    other = swapped.sample(batch[0].transpose(0, 1), batch[1].T, 9, seed=5)
    assert torch.equal(other.transpose(1, 2), crf.sample(*batch, 9, seed=5))


def test_entropy(backend, batch):
    crf = make()
    found = crf.entropy(*batch)
    for row, length in enumerate(LENGTHS):
        scores, log_z = distribution(crf, batch[0], row, length)
        truth = -math.fsum(math.exp(s - log_z) * (s - log_z) for s in scores.values())
        assert found[row].item() == pytest.approx(truth)


def test_kl(backend, batch):
    p, q = make(0), make(1)
    emissions, mask = batch
    other = emissions.flip(2)
    found = p.kl(emissions, other, mask, other=q)
    for row, length in enumerate(LENGTHS):
        ours, log_p = distribution(p, emissions, row, length)
        theirs, log_q = distribution(q, other, row, length)
        truth = math.fsum(math.exp(s - log_p) * (s - log_p - theirs[path] + log_q) for path, s in ours.items())
        assert found[row].item() == pytest.approx(truth)
    assert p.kl(emissions, mask=mask).tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    with pytest.raises(ShapeError, match="other must have batch_first=False, got True"):
        p.kl(emissions, other=CRF(3, batch_first=True))
    with pytest.raises(ShapeError, match=r"other_emissions must have shape \(4, 3, 3\), got \(4, 2, 3\)"):
        p.kl(emissions, emissions[:, :2])


def partial_truth(crf, emissions, row, length, allowed):
    scores, log_z = distribution(crf, emissions, row, length)
    inside = [s for path, s in scores.items() if all(allowed[t, row, tag] for t, tag in enumerate(path))]
    return math.log(math.fsum(math.exp(s - log_z) for s in inside))


def test_partial_labels_against_enumeration(backend, batch):
    crf = make()
    emissions, mask = batch
    allowed = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(4)) < 0.6
    allowed[..., 0] |= ~allowed.any(dim=2)
    allowed[~mask] = False  # the padding may hold anything
    found = crf.partial_log_likelihood(emissions, allowed, mask, reduction="none")
    truth = [partial_truth(crf, emissions, row, length, allowed) for row, length in enumerate(LENGTHS)]
    assert found.tolist() == pytest.approx(truth)
    token_mean = crf.partial_log_likelihood(emissions, allowed, mask, reduction="token_mean")
    assert token_mean.item() == pytest.approx(sum(truth) / 8)


def test_partly_known_tags(backend, batch):
    crf, swapped = make(), make(batch_first=True)
    emissions, mask = batch
    tags = torch.tensor([[0, UNKNOWN, 2], [UNKNOWN, UNKNOWN, 9], [1, 2, 9], [UNKNOWN, -7, 9]])
    allowed = (tags.unsqueeze(2) == torch.arange(3)) | (tags.unsqueeze(2) == UNKNOWN)
    found = crf.partial_log_likelihood(emissions, tags, mask, reduction="none")
    truth = [partial_truth(crf, emissions, row, length, allowed) for row, length in enumerate(LENGTHS)]
    assert found.tolist() == pytest.approx(truth)
    other = swapped.partial_log_likelihood(emissions.transpose(0, 1), tags.T, mask.T, reduction="none")
    assert torch.equal(other, found)


def test_wholly_known_and_wholly_unknown(batch):
    crf = make()
    emissions, mask = batch
    tags = torch.randint(3, (4, 3))
    torch.testing.assert_close(crf.partial_log_likelihood(emissions, tags, mask), crf(emissions, tags, mask))
    nothing = torch.full((4, 3), UNKNOWN)
    assert crf.partial_log_likelihood(emissions, nothing, mask).item() == 0


def test_gradients_of_partial_labels_and_entropy(backend, batch):
    crf = make()
    emissions, mask = batch
    allowed = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(4)) < 0.6
    allowed[..., 0] |= ~allowed.any(dim=2)
    emissions = emissions.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: crf.partial_log_likelihood(e, allowed, mask, "none"), (emissions,))
    assert torch.autograd.gradcheck(lambda e: crf.entropy(e, mask), (emissions,))
    bound = make(constraints=forbid(3, moves=[(0, 1)]))
    bound.partial_log_likelihood(emissions * 1e4, allowed, mask).backward()
    assert all(part.grad.isfinite().all() for part in (emissions, *bound.parameters()))


def test_bad_partial_labels(batch):
    crf = make(constraints=forbid(3, moves=[(0, 1)]))
    emissions, mask = batch
    nothing = torch.ones(4, 3, 3, dtype=torch.bool)
    nothing[2, 1] = False
    with pytest.raises(ShapeError, match="allowed must leave at least one tag, none at step 2 of row 1"):
        crf.partial_log_likelihood(emissions, nothing, mask)
    with pytest.raises(ShapeError, match="no path is allowed for row 0 of length 4"):
        crf.partial_log_likelihood(emissions, torch.tensor([[0], [1], [UNKNOWN], [UNKNOWN]]).expand(4, 3), mask)
    for value in (3, -2):
        with pytest.raises(ShapeError, match=f"allowed must lie in -1 … 2, got {value}"):
            crf.partial_log_likelihood(emissions, torch.full((4, 3), value), mask)
    with pytest.raises(ShapeError, match=r"allowed must have shape \(4, 3, 3\), got \(4, 3, 2\)"):
        crf.partial_log_likelihood(emissions, nothing[..., :2], mask)
    with pytest.raises(ShapeError, match=r"got \(T, B\) of torch.bool"):
        crf.partial_log_likelihood(emissions, nothing[..., 0], mask)
    with pytest.raises(ShapeError, match="emissions and allowed must match"):
        crf.partial_log_likelihood(emissions, torch.zeros(2, 3).long())


def test_training_on_unknown_tags_learns_what_the_known_ones_imply():
    """Half of the tags are hidden; the transitions still learn that 0 and 1 alternate."""
    torch.manual_seed(0)
    crf = CRF(2)
    tags = torch.tensor([[0, 1]] * 4 + [[1, 0]] * 4).T.repeat(4, 1)  # (8, 8)
    seen = torch.where(torch.rand(8, 8) < 0.5, tags, UNKNOWN)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        (-crf.partial_log_likelihood(torch.zeros(8, 8, 2), seen, reduction="mean")).backward()
        optimizer.step()
    assert crf.decode(torch.tensor([[[5.0, 0.0]]] + [[[0.0, 0.0]]] * 4)) == [[0, 1, 0, 1, 0]]


def test_impossible_emissions_have_a_clear_error(backend):
    crf = make()
    emissions = torch.zeros(3, 2, 3, dtype=torch.float64)
    emissions[1, 1] = NEVER
    message = "no path is allowed for row 1 of length 3"
    with pytest.raises(ShapeError, match=message):
        crf(emissions, torch.zeros(3, 2).long())
    for decode in (crf.decode, lambda e: crf.decode(e, nbest=2), crf.best_paths):
        with pytest.raises(ShapeError, match=message):
            decode(emissions)
    with pytest.raises(ShapeError, match="row 1"):
        crf.sample(emissions)
    assert crf.log_partition(emissions)[1].item() == NEVER


def test_a_gold_tag_of_emission_minus_infinity_has_probability_zero(backend):
    crf = make(constraints=forbid(3, moves=[(0, 1)]))
    emissions = torch.zeros(3, 1, 3, dtype=torch.float64)
    emissions[1, 0, 0] = NEVER
    assert crf(emissions, torch.zeros(3, 1).long()).item() == NEVER


def test_nan_emissions_are_named(backend):
    crf, emissions = make(), torch.zeros(3, 2, 3, dtype=torch.float64)
    emissions[2, 1, 0] = float("nan")
    tags = torch.zeros(3, 2).long()
    for call in (crf.decode, crf.best_paths, lambda e: crf.decode(e, nbest=2), lambda e: crf.score(e, tags)):
        with pytest.raises(ShapeError, match=r"emissions must hold no NaN and no \+inf, got nan at step 2 of row 1"):
            call(emissions)
    for call in (crf.log_partition, crf.marginals, crf.sample, crf.entropy, lambda e: crf(e, tags)):
        with pytest.raises(ShapeError, match="emissions must hold no NaN"):
            call(emissions)
    mask = torch.tensor([[1, 1], [1, 1], [1, 0]]).bool()
    assert len(crf.decode(emissions, mask)[1]) == 2  # in the padding NaN is harmless


def test_bad_nbest_and_num_samples(batch):
    with pytest.raises(ShapeError, match="nbest must be at least 1, got 0"):
        make().decode(*batch, nbest=0)
    with pytest.raises(ShapeError, match="num_samples must not be negative, got -1"):
        make().sample(*batch, -1)


def test_empty_rows_where_they_are_allowed(backend):
    crf = make(allow_empty=True)
    emissions = torch.randn(3, 2, 3, dtype=torch.float64)
    mask = torch.tensor([[1, 0], [1, 0], [0, 0]]).bool()
    tags = torch.zeros(3, 2).long()
    assert crf(emissions, tags, mask, "none")[1].item() == 0
    assert crf.partial_log_likelihood(emissions, tags, mask, "none")[1].item() == 0
    assert crf.decode(emissions, mask)[1] == []
    assert crf.decode(emissions, mask, nbest=2)[1] == [([], 0.0)]
    assert crf.entropy(emissions, mask)[1].item() == 0
    assert (crf.sample(emissions, mask)[:, :, 1] == -1).all()
    assert crf(emissions, tags, torch.zeros_like(mask), "token_mean").item() == 0
    assert crf.decode(emissions[:0]) == [[], []]
    assert crf(emissions[:0], tags[:0], reduction="none").tolist() == [0, 0]


def test_empty_batches_and_no_steps_are_refused():
    with pytest.raises(ShapeError, match=r"emissions must hold at least one sequence, got shape \(4, 0, 3\)"):
        make()(torch.zeros(4, 0, 3), torch.zeros(4, 0).long())
    with pytest.raises(ShapeError, match=r"emissions must hold at least one time step, got shape \(0, 2, 3\)"):
        make().decode(torch.zeros(0, 2, 3))
    with pytest.raises(ShapeError, match="mask must be contiguous"):
        make().decode(torch.zeros(3, 1, 3), torch.tensor([[1], [0], [1]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_emissions_of_every_width(backend, dtype):
    crf = make().float()
    emissions = torch.randn(6, 2, 3).to(dtype).requires_grad_()
    tags = torch.randint(3, (6, 2))
    likelihood = crf(emissions, tags)
    assert likelihood.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    likelihood.backward()
    assert emissions.grad.dtype == dtype
    exact = crf.double()(emissions.detach().double(), tags)
    torch.testing.assert_close(likelihood.double(), exact, rtol=1e-5, atol=1e-5)
    assert crf.decode(emissions) == crf.decode(emissions.detach().double())


@pytest.mark.parametrize("value", [1.0, 1e-30, 1e4])
def test_ten_thousand_steps(backend, value):
    torch.manual_seed(0)
    T = 10_000 if backend == "numba" else 2_000
    crf = CRF(4)
    emissions = (torch.randn(T, 1, 4) * value).requires_grad_()
    log_z = crf.log_partition(emissions)
    exact = crf.double().log_partition(emissions.detach().double())
    assert log_z.item() == pytest.approx(exact.item(), rel=1e-6)
    log_z.sum().backward()
    assert emissions.grad.isfinite().all()
    torch.testing.assert_close(emissions.grad.sum(dim=2), torch.ones(T, 1), rtol=1e-4, atol=1e-4)


def test_double_backward_is_refused(backend, batch):
    emissions = batch[0].requires_grad_()
    for value in (make()(emissions, torch.zeros(4, 3).long()), make().log_partition(emissions).sum()):
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(value, emissions, create_graph=True)
