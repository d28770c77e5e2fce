"""Gold and predicted labels side by side."""

import html
import re
from pathlib import Path

import pytest

from blog.examples import COLOURS, SHOWN, examples_section, label, segments
from blog.run_folder import Example
from tests.blog.run_folders import bioes


def shown_text(block: str) -> list[str]:
    """The text of each row of an example, with the markup taken off."""
    return [html.unescape(re.sub(r"<[^>]*>", "", row)) for row in re.findall(r"<dd>(.*?)</dd>", block)]


@pytest.mark.parametrize(
    ("tag", "name"),
    [("B-name", "name"), ("S-x-y", "x-y"), ("O", "O"), ("NOUN", "NOUN"), ("-", "-"), ("e-commerce", "e-commerce")],
)
def test_label(tag: str, name: str) -> None:
    assert label(tag) == name


def test_segments_are_the_predicted_entities() -> None:
    tags = bioes("KKK N OO")
    assert segments(tags, tags) == [(0, 3), (3, 4), (4, 5), (5, 6), (6, 8)]


def test_neighbours_of_one_class_are_two_pieces() -> None:
    tags = ["S-a", "S-a", "B-a", "E-a", "B-a", "E-a"]
    assert segments(tags, tags) == [(0, 1), (1, 2), (2, 4), (4, 6)]


def test_outside_is_cut_where_it_turns_wrong() -> None:
    assert segments(["O", "S-a", "O"], ["O", "O", "O"]) == [(0, 1), (1, 2), (2, 3)]


def test_segments_cover_everything_once() -> None:
    gold, predicted = bioes("KKNN OO C"), bioes("KNNN  OOC")
    pieces = segments(gold, predicted)
    assert [i for start, end in pieces for i in range(start, end)] == list(range(len(gold)))
    assert segments([], []) == []


def test_a_right_example_has_one_row() -> None:
    tags = bioes("KK")
    block = examples_section([Example("if", tags, tags)])[-1]
    assert shown_text(block) == ["if"]
    assert "All characters right." in block


def test_a_wrong_example_shows_both_rows_and_says_what_is_wrong() -> None:
    block = examples_section([Example("x = 1", bioes("N O D"), bioes("N   D"))])[-1]
    assert shown_text(block) == ["x = 1", "x = 1"]
    assert "1 of 5 characters wrong: <q>=</q> is operator, predicted nothing" in block
    assert block.count('class="wrong"') == 1


def test_only_the_wrong_characters_of_an_entity_are_marked() -> None:
    gold = ["B-name", "I-name", "I-name", "E-name", "O"]
    block = examples_section([Example("abcd ", gold, ["B-name", "I-name", "I-name", "I-name", "E-name"])])[-1]
    row = re.findall(r"<dd>(.*?)</dd>", block)[1]
    assert re.sub(r' title="[^"]*"', "", row) == '<span class="k k1">abc<span class="wrong">d </span></span>'
    assert 'title="name, gold: name + nothing"' in row


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_is_another_and_can_be_read_on_the_paper(root: Path, theme: int) -> None:
    css = (root / "blog/themes/seqlab/source/css/style.css").read_text(encoding="utf-8")
    colours = dict(list(re.findall(r"--(k\d+): (#[0-9a-f]{6})", css))[theme * (COLOURS + 1) :][: COLOURS + 1])
    assert len(set(colours.values())) == len(colours) == COLOURS + 1
    assert all(f".{name} {{ --hue: var(--{name}); }}" in css for name in colours if name != "k0")
    paper = luminance(re.findall(r"--raised: (#[0-9a-f]{6})", css)[theme])
    for name, colour in colours.items():
        darker, lighter = sorted((paper, luminance(colour)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, name


def test_a_boundary_that_is_wrong_is_said_so() -> None:
    block = examples_section([Example("ab", ["B-name", "E-name"], ["S-name", "S-name"])])[-1]
    assert "name, cut in other places" in block


def test_hostile_text_and_tags_are_escaped() -> None:
    hostile = '</dd><script>alert("1")</script>{{x}}`\n\t'
    tags = [f"S-{hostile}"] * len(hostile)
    blocks = examples_section([Example(hostile, tags, ["O"] * len(hostile))])
    assert "<script" not in "".join(blocks)
    assert "{{" not in "".join(blocks)
    assert not any("\n\n" in block for block in blocks)
    assert shown_text(blocks[-1])[0] == hostile.replace("\n", "↵").replace("\t", "⇥")


def test_more_classes_than_colours_and_more_examples_than_are_shown() -> None:
    tags = [f"S-class{i:02}" for i in range(19)]
    blocks = examples_section([Example("x" * 19, tags, tags)] * (SHOWN + 3))
    assert blocks[1].count('class="k k0"') == 2
    assert len(set(re.findall(r'class="k (k\d+)"', blocks[1]))) == 18
    assert len(blocks) == SHOWN + 3
    assert "3 more" in blocks[-1]
    assert examples_section([]) == []
