"""Parts that share no text, batches, and what is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlab.data.batches import length_batches
from seqlab.data.corpus import PARTS, TaggedLine, make_corpus, part_of
from seqlab.errors import DataError
from seqlab.metrics import Span


def corpus(lines, **options):
    tagged = [(key, TaggedLine(text, (Span(0, 1, "x"),))) for key, text in lines]
    return make_corpus("n", "s", tagged, **{"max_length": 20, "limits": {}, **options})


LINES = [(f"file{number % 40}", f"{'  ' * (number % 3)}line {number % 150}") for number in range(600)]


def test_no_text_is_in_two_parts_or_twice_in_one():
    parts = corpus(LINES).parts
    texts = [line.text.strip() for part in PARTS for line in parts[part]]
    assert len(texts) == len(set(texts)) == 150
    assert all(parts[part] for part in PARTS)


def test_a_file_goes_to_one_part():
    owner = {}
    for number in range(400):
        owner[part_of(f"f{number}")] = owner.get(part_of(f"f{number}"), 0) + 1
    assert owner["train"] > 280
    assert min(owner["test"], owner["valid"]) > 15
    assert part_of("f1") == part_of("f1")


def test_held_out_parts_claim_shared_lines_first():
    files = {part: next(f"f{n}" for n in range(100) if part_of(f"f{n}") == part) for part in PARTS}
    lines = [(files[part], f"{part} own") for part in PARTS] + [(files[part], "shared") for part in PARTS]
    parts = corpus(lines).parts
    assert [part for part in PARTS if "shared" in {line.text for line in parts[part]}] == ["test"]


def test_limits_and_long_lines_are_kept_and_told():
    found = corpus([*LINES, ("file1", "x" * 21)], limits={"train": 7, "test": 3})
    assert len(found.parts["train"]) == 7
    assert len(found.parts["test"]) == 3
    assert "601 lines: 1 longer than 20 characters and 450 repeated ones left out" in found.notes


def test_the_choice_does_not_depend_on_the_order():
    assert corpus(LINES, limits={"train": 20}).sha256() != corpus(LINES).sha256()
    unique = [(f"f{n}", f"line {n}") for n in range(100)]
    assert corpus(unique).sha256() == corpus(unique[::-1]).sha256()


def test_the_digest_covers_the_tags():
    lines = [(f"f{n}", TaggedLine(f"line {n}", (Span(0, 1, "x"),))) for n in range(50)]
    changed = [(key, line._replace(entities=(Span(0, 2, "x"),))) for key, line in lines]
    digests = {make_corpus("n", "s", some, max_length=9, limits={}).sha256() for some in (lines, changed)}
    assert len(digests) == 2


def test_an_empty_part_is_an_error():
    with pytest.raises(DataError, match="more data is needed"):
        corpus([("a", "line")])


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100), st.text(max_size=3))
def test_batches_hold_every_sequence_once_within_the_budget(lengths, budget, seed):
    batches = length_batches(lengths, budget=budget, seed=seed)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[index] for index in batch]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] * len(sizes) <= budget or len(sizes) == 1
    assert len(batches) == len(length_batches(lengths, budget=budget, seed=None))
    assert batches == length_batches(lengths, budget=budget, seed=seed)


def test_another_seed_gives_another_order():
    lengths = [number % 5 + 1 for number in range(50)]
    assert length_batches(lengths, budget=10, seed="a") != length_batches(lengths, budget=10, seed="b")
