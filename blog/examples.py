"""Examples of predictions as HTML: gold above predicted, one colour a class, every mistake also in words."""

from collections.abc import Iterator
from itertools import groupby

from blog import text
from blog.run_folder import Example

__all__ = ["SHOWN", "examples_section"]

SHOWN = 12
MISTAKES_SHOWN = 4
COLOURS = 17  # k1 … k17 in the theme's style sheet; k0 is for every further class


def examples_section(examples: list[Example]) -> list[str]:
    """The blocks of the section: a legend, then the first examples; nothing when there is none."""
    if not examples:
        return []
    shown = examples[:SHOWN]
    colours = _colours(shown)
    blocks = ["## Examples", _legend(colours), *(_example(example, colours) for example in shown)]
    if len(examples) > SHOWN:
        blocks.append(f'<p class="note">{len(examples) - SHOWN} more in the run\'s report.json.</p>')
    return blocks


def label(tag: str) -> str:
    """The class in a BIOES tag: `B-name` and `S-name` are `name`; `O`, and a tag without a prefix, itself."""
    prefix, dash, rest = tag.partition("-")
    return rest if dash and prefix in {"B", "I", "E", "S", "M", "L", "U"} else tag


def segments(gold: list[str], predicted: list[str]) -> list[tuple[int, int]]:
    """Cut `predicted` into pieces [start, end): one a predicted entity; outside, where right turns to wrong."""
    pieces = []
    start = 0
    for i in range(1, len(predicted) + 1):
        if i == len(predicted) or _starts_new(gold, predicted, i):
            pieces.append((start, i))
            start = i
    return pieces


def _starts_new(gold: list[str], predicted: list[str], i: int) -> bool:
    before, here = predicted[i - 1], predicted[i]
    if label(before) != label(here):
        return True
    if here == "O":
        return (gold[i] == here) != (gold[i - 1] == before)
    return here.startswith(("B-", "S-", "U-")) or before.startswith(("E-", "S-", "L-", "U-"))


def _colours(examples: list[Example]) -> dict[str, int]:
    """A colour for each class, in the order of the classes' names, so that the same task always looks the same."""
    labels = {label(tag) for e in examples for tag in (*e.gold, *e.predicted)} - {"O"}
    return {name: i + 1 if i < COLOURS else 0 for i, name in enumerate(sorted(labels))}


def _legend(colours: dict[str, int]) -> str:
    items = (f'<li><span class="k k{k}">{text.html(name)}</span></li>' for name, k in colours.items())
    wrong = '<li><span class="wrong">differs from gold</span></li>'
    return f'<ul class="legend" aria-label="Classes">{"".join(items)}{wrong}</ul>'


def _example(example: Example, colours: dict[str, int]) -> str:
    wrong = [i for i, (g, p) in enumerate(zip(example.gold, example.predicted, strict=True)) if g != p]
    gold = f"<dt>gold</dt><dd>{_row(example.text, example.gold, example.gold, colours)}</dd>"
    predicted = f"<dt>predicted</dt><dd>{_row(example.text, example.gold, example.predicted, colours)}</dd>"
    if not wrong:
        rows, verdict = gold.replace("gold", "gold = predicted", 1), "<p>All characters right.</p>"
    else:
        rows, verdict = gold + predicted, f'<p class="mistakes">{_mistakes(example, wrong)}</p>'
    return f'<div class="example" role="group" aria-label="Example">\n<dl>{rows}</dl>\n{verdict}\n</div>'


def _row(line: str, gold: list[str], tags: list[str], colours: dict[str, int]) -> str:
    """The characters of one row; pieces with a class coloured, characters that differ from gold outlined."""
    parts = []
    for start, end in segments(gold, tags):
        name = label(tags[start])
        piece = "".join(_stretches(line, gold, tags, start, end))
        coloured = f'<span class="k k{colours[name]}" title="{text.html(name)}">' if name in colours else ""
        parts.append(f"{coloured}{piece}</span>" if coloured else piece)
    return "".join(parts)


def _stretches(line: str, gold: list[str], tags: list[str], start: int, end: int) -> Iterator[str]:
    """The right and the wrong stretches of a piece, in turn; a wrong one says what it should have been."""
    for wrong, group in groupby(range(start, end), key=lambda i: gold[i] != tags[i]):
        positions = list(group)
        first, last = positions[0], positions[-1] + 1
        piece = text.spans(line[first:last])
        title = f"{_names(tags[first:last])}, gold: {_names(gold[first:last])}"
        yield f'<span class="wrong" title="{text.html(title)}">{piece}</span>' if wrong else piece


def _mistakes(example: Example, wrong: list[int]) -> str:
    """Every run of wrong characters in words, the first few of them."""
    runs = [[i for _, i in group] for _, group in groupby(enumerate(wrong), key=lambda pair: pair[1] - pair[0])]
    said = []
    for run in runs[:MISTAKES_SHOWN]:
        start, end = run[0], run[-1] + 1
        gold, predicted = _names(example.gold[start:end]), _names(example.predicted[start:end])
        kind = f"{gold}, predicted {predicted}" if gold != predicted else f"{gold}, cut in other places"
        said.append(f"<q>{text.spans(example.text[start:end])}</q> is {text.html(kind)}")
    more = "; …" if len(runs) > MISTAKES_SHOWN else ""
    return f"{len(wrong)} of {len(example.text)} characters wrong: {'; '.join(said)}{more}"


def _names(tags: list[str]) -> str:
    """The classes of neighbouring tags, each once, `O` as "nothing"."""
    names = dict.fromkeys("nothing" if tag == "O" else label(tag) for tag in tags)
    return " + ".join(names)
