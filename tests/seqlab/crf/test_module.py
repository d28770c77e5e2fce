"""`CRF` against brute force, its interface, its constraints and its messages."""

import itertools
import math

import pytest
import torch

from seqlab.crf import CRF, TransitionConstraints, bioes_constraints
from seqlab.errors import ShapeError
from tests.seqlab import oracles

BIOES = ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"]


@pytest.fixture
def crf():
    torch.manual_seed(0)
    return CRF(3).double()


@pytest.fixture
def batch():
    """Emissions (T, B, K) = (4, 3, 3), tags, and a mask of lengths 4, 3, 1."""
    draw = torch.Generator().manual_seed(1)
    emissions = torch.randn(4, 3, 3, generator=draw, dtype=torch.float64)
    tags = torch.randint(3, (4, 3), generator=draw)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    return emissions, tags, mask


def oracle_rows(crf, emissions, mask):
    rows = []
    for b, n in enumerate(mask.sum(dim=0).tolist()):
        row = [e[b].tolist() for e in emissions[:n]]
        parts = (crf.transitions.tolist(), crf.start_transitions.tolist(), crf.end_transitions.tolist())
        rows.append((n, row, parts, oracles.enumerate_chain(row, *parts)))
    return rows


def test_parameters_have_the_peers_names_and_shapes():
    shapes = {name: tuple(values.shape) for name, values in CRF(5).state_dict().items()}
    assert shapes == {"start_transitions": (5,), "end_transitions": (5,), "transitions": (5, 5)}
    assert repr(CRF(5)) == "CRF(num_tags=5)"
    assert all(parameter.abs().max() <= 0.1 for parameter in CRF(50).parameters())


def test_likelihood_decode_and_marginals_agree_with_enumeration(crf, batch):
    emissions, tags, mask = batch
    likelihood = crf(emissions, tags, mask, reduction="none")
    decoded = crf.decode(emissions, mask)
    for b, (n, row, parts, truth) in enumerate(oracle_rows(crf, emissions, mask)):
        numerator = oracles.score_of(tags[:n, b].tolist(), row, *parts)
        assert likelihood[b].item() == pytest.approx(numerator - truth.log_partition)
        assert crf.score(emissions, tags, mask)[b].item() == pytest.approx(numerator)
        assert crf.log_partition(emissions, mask)[b].item() == pytest.approx(truth.log_partition)
        assert tuple(decoded[b]) == truth.best
        marginals = crf.marginals(emissions, mask)[:n, b]
        torch.testing.assert_close(marginals, torch.tensor(truth.states).double())


def test_reductions(crf, batch):
    rows = crf(*batch, reduction="none")
    assert crf(*batch).item() == pytest.approx(rows.sum().item())
    assert crf(*batch, reduction="mean").item() == pytest.approx(rows.mean().item())
    assert crf(*batch, reduction="token_mean").item() == pytest.approx(rows.sum().item() / 8)


def test_batch_first_and_uint8_mask_change_nothing(crf, batch):
    emissions, tags, mask = batch
    other = CRF(3, batch_first=True).double()
    other.load_state_dict(crf.state_dict())
    swapped = emissions.transpose(0, 1), tags.T, mask.T.to(torch.uint8)
    assert torch.equal(other(*swapped), crf(*batch))
    assert other.decode(swapped[0], swapped[2]) == crf.decode(emissions, mask)
    assert torch.equal(other.marginals(swapped[0], swapped[2]).transpose(0, 1), crf.marginals(emissions, mask))


def test_no_mask_is_a_full_mask(crf, batch):
    emissions, tags, mask = batch
    full = torch.ones_like(mask)
    assert torch.equal(crf(emissions, tags), crf(emissions, tags, full))
    assert crf.decode(emissions) == crf.decode(emissions, full)
    assert [len(row) for row in crf.decode(emissions, mask)] == [4, 3, 1]


def test_gradients(crf, batch):
    emissions, tags, mask = batch
    names = ["transitions", "start_transitions", "end_transitions"]

    def function(emissions, *parts):
        return torch.func.functional_call(crf, dict(zip(names, parts, strict=True)), (emissions, tags, mask))

    parts = [getattr(crf, name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(function, (emissions.requires_grad_(), *parts))


def test_one_tag_and_one_step():
    crf = CRF(1)
    assert crf(torch.randn(5, 2, 1), torch.zeros(5, 2, dtype=torch.int64)).item() == pytest.approx(0, abs=1e-6)
    assert crf.decode(torch.randn(1, 2, 1)) == [[0], [0]]


def test_training_learns_the_alternation():
    """The emissions say nothing: only the transitions can learn that 0 and 1 alternate."""
    torch.manual_seed(0)
    crf = CRF(2)
    tags = torch.tensor([[0, 1]] * 3 + [[1, 0]]).T.repeat(4, 1)[:7]  # (7, 4)
    emissions = torch.zeros(7, 4, 2)
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -crf(emissions, tags, reduction="token_mean")
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.15
    assert crf.decode(emissions[:, :1]) == [[0, 1, 0, 1, 0, 1, 0]]


def legal(path, labels):
    """An independent check: walk through the segments."""
    inside = None
    for label in (labels[tag] for tag in path):
        position, _, kind = label.partition("-")
        if (inside is not None) != (position in "IE") or (position in "IE" and kind != inside):
            return False
        inside = kind if position in "BI" else None
    return inside is None


def test_constraints_are_exactly_the_legal_sequences():
    labels = BIOES[:6]
    allowed = bioes_constraints(labels)
    for length in (1, 2, 3, 4):
        for path in itertools.product(range(len(labels)), repeat=length):
            passes = bool(allowed.start[path[0]] & allowed.end[path[-1]])
            passes &= all(bool(allowed.pairs[i, j]) for i, j in itertools.pairwise(path))
            assert passes == legal(path, labels), [labels[tag] for tag in path]


def test_bio_and_bmes_constraints():
    bio = bioes_constraints(["O", "B-X", "I-X", "B-Y", "I-Y"])
    assert bio.start.tolist() == [True, True, False, True, False]
    assert bio.end.all()
    assert bio.pairs[1].tolist() == [True, True, True, True, False]  # after B-X
    assert bio.pairs[0].tolist() == [True, True, False, True, False]  # after O
    bmes = bioes_constraints(list("BMES"))
    assert bmes.pairs.int().tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]]
    assert (bmes.start.tolist(), bmes.end.tolist()) == ([True, False, False, True], [False, False, True, True])


@pytest.mark.parametrize("labels", [[], ["O", "O"], ["X-PER"], ["O-PER"], ["b-PER"], [""]])
def test_bad_labels(labels):
    with pytest.raises(ShapeError, match="labels must"):
        bioes_constraints(labels)


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
def test_forbidden_moves_are_never_decoded(scale):
    torch.manual_seed(0)
    crf = CRF(len(BIOES), constraints=bioes_constraints(BIOES))
    emissions = torch.randn(12, 40, len(BIOES)) * scale
    lengths = torch.arange(40) % 12 + 1
    mask = torch.arange(12).unsqueeze(1) < lengths
    paths = crf.decode(emissions, mask)
    assert all(legal(path, BIOES) for path in paths)
    marginals = crf.marginals(emissions, mask)
    torch.testing.assert_close(marginals.sum(dim=2), mask.float())


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
def test_training_with_constraints_stays_finite(scale):
    torch.manual_seed(0)
    crf = CRF(len(BIOES), batch_first=True, constraints=bioes_constraints(BIOES))
    emissions = (torch.randn(2, 4, len(BIOES)) * scale).requires_grad_()
    tags = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    loss = -crf(emissions, tags, mask)
    loss.backward()
    assert loss.isfinite()
    assert all(values.grad.isfinite().all() for values in (emissions, *crf.parameters()))
    assert crf.transitions.grad[0, 3] == 0  # O → E-X is forbidden


def test_tags_against_the_constraints_are_refused():
    crf = CRF(len(BIOES), constraints=bioes_constraints(BIOES))
    with pytest.raises(ShapeError, match="tags of row 0 hold a move that the constraints forbid"):
        crf(torch.zeros(2, 1, len(BIOES)), torch.tensor([[0], [3]]))


def test_a_row_without_any_allowed_path_is_refused():
    crf = CRF(2, constraints=bioes_constraints(["B", "E"]))
    assert crf.decode(torch.zeros(2, 1, 2)) == [[0, 1]]
    with pytest.raises(ShapeError, match="no path is allowed for row 0 of length 3"):
        crf.decode(torch.zeros(3, 1, 2))


def test_constraints_stay_out_of_the_state_dict():
    free, bound = CRF(4), CRF(4, constraints=bioes_constraints(list("BMES")))
    bound.load_state_dict(free.state_dict())
    assert free.state_dict().keys() == bound.state_dict().keys()


def test_hidden_minus_1e4_transitions_train_without_nan():
    crf = CRF(3)
    with torch.no_grad():
        crf.transitions[0, 1] = -1e4
        crf.transitions[2, :] = -1e4
    emissions = torch.randn(6, 2, 3, requires_grad=True)
    loss = -crf(emissions, torch.zeros(6, 2, dtype=torch.int64))
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(values.grad.isfinite().all() for values in (emissions, *crf.parameters()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"emissions": torch.zeros(2, 3)}, "emissions must have dimension of 3, got 2"),
        ({"emissions": torch.zeros(2, 2, 4)}, "expected last dimension of emissions is 3, got 4"),
        (
            {"tags": torch.zeros(3, 2).long()},
            r"the first two dimensions of emissions and tags must match, got \(2, 2\) and \(3, 2\)",
        ),
        (
            {"mask": torch.ones(1, 2).bool()},
            r"the first two dimensions of emissions and mask must match, got \(2, 2\) and \(1, 2\)",
        ),
        ({"mask": torch.tensor([[0, 1], [0, 1]])}, "mask of the first timestep must all be on"),
        ({"mask": torch.full((2, 2), 0.5)}, r"mask must be bool or of integers, got torch\.float32"),
        ({"mask": torch.ones(2, 2, dtype=torch.float64)}, r"got torch\.float64"),
        ({"emissions": [[[0.0]]]}, "emissions must be a tensor, got list"),
        ({"emissions": None}, "emissions must be a tensor, got NoneType"),
        ({"emissions": torch.zeros(2, 2, 3).long()}, r"emissions must be floating point, got torch\.int64"),
        ({"tags": [[0, 0], [0, 0]]}, "tags must be a tensor, got list"),
        ({"tags": None}, "tags must be a tensor, got NoneType"),
        ({"mask": [[True, True], [True, True]]}, "mask must be a tensor, got list"),
        ({"reduction": "avg"}, "invalid reduction: avg"),
        ({"tags": torch.full((2, 2), 3)}, "tags must lie in 0 … 2, got 3"),
        ({"emissions": torch.full((2, 2, 3), float("nan"))}, "emissions must hold no NaN"),
    ],
)
def test_bad_input(arguments, message):
    good = {"emissions": torch.zeros(2, 2, 3), "tags": torch.zeros(2, 2).long()}
    with pytest.raises(ValueError, match=message):
        CRF(3)(**(good | arguments))


def test_decoding_refuses_a_mask_of_floats():
    with pytest.raises(ShapeError, match=r"mask must be bool or of integers, got torch\.float16"):
        CRF(3).decode(torch.zeros(2, 2, 3), torch.ones(2, 2, dtype=torch.float16))
    found = CRF(3).decode(torch.zeros(2, 2, 3), torch.tensor([[1, 1], [1, 0]]))
    assert [len(tags) for tags in found] == [2, 1]


def test_other_methods_refuse_the_same():
    crf, emissions = CRF(3), torch.zeros(2, 2, 3)
    for nbest in (1.5, "3", True):
        with pytest.raises(ShapeError, match=f"nbest must be an integer, got {nbest!r}"):
            crf.decode(emissions, nbest=nbest)
    with pytest.raises(ShapeError, match=r"emissions must be floating point, got torch\.int64"):
        crf.partial_log_likelihood(emissions.long(), torch.zeros(2, 2).long())
    with pytest.raises(ShapeError, match="allowed must be a tensor, got list"):
        crf.partial_log_likelihood(emissions, [[0, 0], [0, 0]])
    with pytest.raises(ShapeError, match="other_emissions must be a tensor, got list"):
        crf.kl(emissions, [0.0])


@pytest.mark.parametrize("num_tags", [1.5, "3", None, True, 3.0, torch.tensor(3.0)])
def test_the_number_of_tags_is_an_integer(num_tags):
    with pytest.raises(ShapeError, match="num_tags must be an integer, got"):
        CRF(num_tags)
    assert type(CRF(torch.tensor(3)).num_tags) is int


def test_bad_construction():
    with pytest.raises(ShapeError, match=r"constraints\.start must be a tensor, got list"):
        CRF(1, constraints=TransitionConstraints([True], [True], [[True]]))
    with pytest.raises(ShapeError, match=r"constraints\.start must be a tensor, got NoneType"):
        CRF(1, constraints="BIO")
    with pytest.raises(ValueError, match="invalid number of tags: 0"):
        CRF(0)
    wrong = TransitionConstraints(torch.ones(2), torch.ones(2), torch.ones(2, 3))
    with pytest.raises(ShapeError, match=r"constraints.pairs must have shape \(2, 2\)"):
        CRF(2, constraints=wrong)
