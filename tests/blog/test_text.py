"""Untrusted text stays text: in Markdown, in HTML blocks and in formulas."""

import html as standard_html

import pytest
from markdown_it import MarkdownIt

from blog import text

HOSTILE = [
    "</script><script>alert(1)</script>",
    "{{ config.secret }} {% raw %} {# x #}",
    "```js\nalert(1)\n```",
    "a | b | c\n---|---|---",
    "$x$ and $$y$$",
    "<!-- seqlab:end --> <!-- more -->",
    "* item\n# heading\n> quote",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "===",
    "---",
    "[link](javascript:alert(1)) ![image](x)",
    "**bold** _em_ ~~gone~~ `code`",
    "quotes \" and ' here",
    "C #",
    "trailing backslash \\",
    "&amp; &lt;b&gt;",
    "词法标注 <b>粗</b>",
    "    four blanks",
    ": colon first",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_shows_exactly_the_words(hostile: str) -> None:
    rendered = (
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text.markdown(hostile))
    )
    inner = rendered.strip().removeprefix("<p>").removesuffix("</p>")
    assert "<" not in inner
    assert standard_html.unescape(inner) == text.one_line(hostile)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_holds_nothing_that_hexo_acts_on(hostile: str) -> None:
    for made in (text.markdown(hostile), text.html(hostile), text.spans(hostile)):
        assert not any(mark in made for mark in ("{{", "{%", "{#", "```", "<!--", "$", "<", "\n"))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_html_shows_exactly_the_words(hostile: str) -> None:
    assert standard_html.unescape(text.html(hostile)) == text.one_line(hostile)
    assert '"' not in text.html(hostile)


def test_every_character_keeps_its_place() -> None:
    line = "a\tb\n\r\x00\u202e\ud800 好"
    assert text.visible(line) == "a⇥b↵↵\u2400\ufffd\ufffd 好"
    assert len(standard_html.unescape(text.spans(line))) == len(line)


def test_a_formula_is_kept() -> None:
    assert text.maths("\\frac{a}{b}\n\n  + {{c}}  ") == "$$\n\\frac{a}{b}\n  + {{c}}\n$$"


@pytest.mark.parametrize(
    "latex", ["a $$\n\n<script>", "\\text{$x$}", "```", "x <!-- seqlab:end -->", "~~~", "\x00", ""]
)
def test_a_formula_that_could_break_out_is_shown_as_code(latex: str) -> None:
    made = text.maths(latex)
    assert made == f"<pre><code>{text.html(latex)}</code></pre>"
    assert "\n" not in made
