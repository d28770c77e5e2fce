"""Constraints of every scheme against an independent reading of what the scheme can produce."""

import itertools

import pytest
import torch

from seqlab.crf import CRF, forbid, label_constraints
from seqlab.errors import ShapeError
from seqlab.schemes import guess_scheme


def encode(spans, length, scheme):
    """Write segments (start, end, kind) as labels."""
    labels = ["O"] * length
    ends = {(end, kind) for _, end, kind in spans}
    for start, end, kind in spans:
        letters = {
            "BIO": "B" + "I" * (end - start - 1),
            "IOB1": ("B" if (start, kind) in ends else "I") + "I" * (end - start - 1),
            "IOE2": "I" * (end - start - 1) + "E",
            "BIOES": "S" if end - start == 1 else "B" + "I" * (end - start - 2) + "E",
            "BILOU": "U" if end - start == 1 else "B" + "I" * (end - start - 2) + "L",
        }[scheme]
        labels[start:end] = [f"{letter}-{kind}" for letter in letters]
    return tuple(labels)


def segmentations(length, kinds, start=0):
    if start >= length:
        yield []
        return
    yield from segmentations(length, kinds, start + 1)  # an O
    for end in range(start + 1, length + 1):
        for rest in segmentations(length, kinds, end):
            yield from ([(start, end, kind), *rest] for kind in kinds)


@pytest.mark.parametrize(
    ("scheme", "letters"), [("BIO", "BI"), ("IOB1", "BI"), ("IOE2", "IE"), ("BIOES", "BIES"), ("BILOU", "BILU")]
)
def test_the_allowed_sequences_are_exactly_those_of_the_scheme(scheme, letters):
    labels = ["O", *(f"{letter}-{kind}" for kind in "xy" for letter in letters)]
    allowed = label_constraints(labels, scheme)
    start, end, pairs = (part.tolist() for part in allowed)
    for length in (1, 2, 3, 4):
        written = {encode(spans, length, scheme) for spans in segmentations(length, "xy")}
        passed = {
            tuple(labels[tag] for tag in path)
            for path in itertools.product(range(len(labels)), repeat=length)
            if start[path[0]] and end[path[-1]] and all(pairs[i][j] for i, j in itertools.pairwise(path))
        }
        assert passed == written


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        (["O", "B-x", "I-x"], "BIO"),
        (["B-x"], "BIO"),
        (["O"], "BIO"),
        (["O", "I-x"], "IOB1"),
        (["O", "I-x", "E-x"], "IOE2"),
        (list("BMES"), "BIOES"),
        (["O", "B-x", "M-x", "E-x", "W-x"], "BIOES"),
        (["O", "B-x", "I-x", "L-x", "U-x"], "BIOES"),
        (["O", "S-x"], "BIOES"),
    ],
)
def test_the_scheme_is_read_off_the_labels(labels, scheme):
    assert guess_scheme(labels) == scheme
    for found, expected in zip(label_constraints(labels), label_constraints(labels, scheme), strict=True):
        assert torch.equal(found, expected)


def test_other_names_of_schemes():
    labels = ["O", "B-x", "M-x", "E-x", "W-x"]
    for name in ("BIOES", "IOBES", "BMES", "BMEWO", "BILOU"):
        assert torch.equal(label_constraints(labels, name).pairs, label_constraints(labels).pairs)
    assert torch.equal(label_constraints(["B", "I"], "IOB2").pairs, label_constraints(["B", "I"], "BIO").pairs)


def test_bad_schemes():
    with pytest.raises(ShapeError, match=r"scheme must be one of BIO, IOB1, .*, got 'bio'"):
        label_constraints(["O"], "bio")
    with pytest.raises(ShapeError, match="labels of scheme BIO must be O or have a position of B, I, got 'E-x'"):
        label_constraints(["O", "E-x"], "BIO")
    for label in (3, None, ["B-A"]):
        with pytest.raises(ShapeError, match="labels must be strings, got"):
            label_constraints(["B-A", label])


def test_forbid():
    found = forbid(3, moves=[(0, 1), (2, 2)], start=[1], end=[0, 2])
    assert found.pairs.tolist() == [[True, False, True], [True, True, True], [True, True, False]]
    assert found.start.tolist() == [True, False, True]
    assert found.end.tolist() == [False, True, False]
    for arguments, name in (({"moves": [(0, 3)]}, "moves"), ({"start": [-1]}, "start"), ({"end": [3]}, "end")):
        with pytest.raises(ShapeError, match=f"{name} must hold tags in 0 … 2"):
            forbid(3, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, [(0, 1, 2)]), r"moves must hold pairs of tags \(from, to\), got \(0, 1, 2\)"),
        ((3, [1]), "moves must hold pairs of tags .* got 1"),
        ((3, [(0, 1.5)]), r"a tag in moves must be an integer, got 1\.5"),
        ((3, ["ab"]), "a tag in moves must be an integer, got 'a'"),
        ((3, [], ["a"]), "a tag in start must be an integer, got 'a'"),
        ((3, [], [], [None]), "a tag in end must be an integer, got None"),
        ((0,), "invalid number of tags: 0"),
        ((2.5,), r"num_tags must be an integer, got 2\.5"),
    ],
)
def test_bad_moves(arguments, message):
    with pytest.raises(ShapeError, match=message):
        forbid(*arguments)


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "IOE2", "BIOES"])
def test_samples_and_n_best_obey(scheme):
    labels = ["O", *(f"{letter}-{kind}" for kind in "xy" for letter in "BIES" if scheme == "BIOES" or letter in scheme)]
    torch.manual_seed(0)
    crf = CRF(len(labels), constraints=label_constraints(labels, scheme))
    emissions = torch.randn(4, 3, len(labels)) * 5
    legal = {encode(spans, 4, scheme) for spans in segmentations(4, "xy")}
    drawn = crf.sample(emissions, num_samples=50, seed=1)
    paths = [drawn[s, :, row].tolist() for s in range(50) for row in range(3)]
    paths += [path.tags for row in crf.decode(emissions, nbest=20) for path in row]
    assert {tuple(labels[tag] for tag in path) for path in paths} <= legal
