"""Text from a run is data, never markup: every string passes through here on its way into a post.

A post is Markdown that hexo reads in three passes: Nunjucks (switched off in our posts), its own code-fence
filter, and markdown-it with raw HTML allowed. `markdown` and `html` neutralise all three.
"""

import html as _html
import re
import unicodedata

__all__ = ["html", "markdown", "maths", "one_line", "spans", "visible"]

# Characters that change the direction of the text around them: they can make a page show what it does not say.
DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
BRACES = {"{": "&#123;", "}": "&#125;", "`": "&#96;", "$": "&#36;"}
INLINE_MARKS = re.compile(r"[\\*_\[\]|~#]")
LEADING_MARK = re.compile(r"^(\d*)([-+=.)])")  # a list, a rule or the underline of a heading
UNSAFE_MATHS = re.compile(r"[`$]|~~~|<!--|-->")


def one_line(text: str) -> str:
    """Every run of white space and line breaks as one space; control and direction characters as U+FFFD."""
    return "".join("\ufffd" if _is_hidden(c) else c for c in " ".join(text.split()))


def visible(text: str) -> str:
    r"""Each character as one that can be seen in its place: "\t" as ⇥, a line's end as ↵, others from U+2400 on."""
    return "".join(_picture(c) if _is_hidden(c) else c for c in text)


def html(text: str) -> str:
    """`text` as the content or a quoted attribute of an HTML block; one line, so it cannot end the block."""
    return _escape(one_line(text))


def spans(text: str) -> str:
    """As `html`, but keeping every character of `text` in its place, spaces included."""
    return _escape(visible(text))


def markdown(text: str) -> str:
    """`text` as a paragraph, heading or list item of Markdown that shows exactly these words."""
    escaped = INLINE_MARKS.sub(r"\\\g<0>", one_line(text))
    return LEADING_MARK.sub(r"\1\\\2", _escape(escaped, quote=False))


def maths(latex: str) -> str:
    """A displayed formula, rendered when the site is built.

    A source that could end the formula early, or the generated part of the post, is shown as code instead.
    """
    lines = [line.rstrip() for line in latex.splitlines() if line.strip()]
    if not lines or UNSAFE_MATHS.search(latex) or any(_is_hidden(c) for line in lines for c in line):
        return f"<pre><code>{html(latex)}</code></pre>"
    return "\n".join(["$$", *lines, "$$"])


def _escape(text: str, quote: bool = True) -> str:
    escaped = _html.escape(text, quote=quote)
    return "".join(BRACES.get(c, c) for c in escaped)


def _is_hidden(character: str) -> bool:
    return character in DIRECTION or unicodedata.category(character) in UNPRINTABLE


def _picture(character: str) -> str:
    if character in "\n\r":
        return "↵"
    if character == "\t":
        return "⇥"
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
