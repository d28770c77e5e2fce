"""Says in plain words what is wrong with the site, and for each finding what mends it. Reads only.

Starts `node --version`; reads the blog's configuration, its posts and the site as it was last built.
"""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from blog import front_matter
from blog.site import content_problem, katex_errors, last_failure
from envs.errors import PublishError
from envs.node import problem

__all__ = ["Finding", "check_site", "exit_code", "lines"]

# What the site needs, and what it is for.
PLUGINS = {
    "hexo": "builds the site",
    "hexo-generator-index": "makes the front page",
    "hexo-generator-json-content": "makes content.json, which search reads",
    "hexo-renderer-markdown-it": "renders the posts",
    "@traptitech/markdown-it-katex": "renders the formulas",
}
EXIT_CODES = {"warning": 1, "broken": 2}
CODE = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)|`[^`\n]*`|<pre\b.*?</pre>", re.DOTALL | re.MULTILINE)
RAW = re.compile(r"\{%\s*raw\s*%\}.*?\{%\s*endraw\s*%\}", re.DOTALL)
EXPRESSION = re.compile(r"\{\{.*?\}\}")
IMAGES = re.compile(
    r"!\[[^\]]*\]\(\s*<?(?P<markdown>[^\s)>]+)|<(?:img|source)\b[^>]*?\ssrc(?:set)?=[\"'](?P<html>[^\"',\s]+)"
)
ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, how bad and what mends it."""

    level: Literal["warning", "broken"]
    where: str
    what: str
    mend: str

    def as_dict(self) -> dict[str, str]:
        """The finding for a program."""
        return asdict(self)


def check_site(root: Path) -> list[Finding]:
    """Everything that is wrong with the hexo folder `root`; empty when all is well."""
    return [
        *_node_findings(root),
        *_plugin_findings(root),
        *_configuration_findings(root),
        *_post_findings(root),
        *_built_findings(root),
    ]


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when there is nothing, 1 for warnings only, 2 when something is broken."""
    return max((EXIT_CODES[finding.level] for finding in findings), default=0)


def lines(findings: list[Finding]) -> str:
    """The findings for a person."""
    if not findings:
        return "the blog is in order"
    return "\n".join(f"{f.level:8} {f.where}: {f.what}\n         next: {f.mend}" for f in findings)


# ---- node and configuration -----------------------------------------------------------------------------------


def _node_findings(root: Path) -> Iterator[Finding]:
    what = problem(root)
    if what is not None:
        sentence, _, mend = what.partition("\n  next: ")
        yield Finding("broken" if mend else "warning", "node", sentence, mend or "./inv blog.build")


def _plugin_findings(root: Path) -> Iterator[Finding]:
    path = root / "package.json"
    try:
        dependencies = json.loads(path.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding("broken", "package.json", f"cannot be read ({error})", "git checkout -- blog/package.json")
        return
    for name, purpose in PLUGINS.items():
        if name not in dependencies:
            mend = "git checkout -- blog/package.json blog/package-lock.json, then ./inv blog.build"
            yield Finding("broken", "package.json", f"{name} is missing: it {purpose}", mend)


def _configuration_findings(root: Path) -> Iterator[Finding]:
    try:
        config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8")) or {}
    except OSError as error:
        yield Finding("broken", "_config.yml", f"cannot be read ({error.strerror})", "git checkout -- blog/_config.yml")
        return
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"_config.yml:{mark.line + 1}" if mark else "_config.yml"
        what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
        yield Finding("broken", where, what, "see that the indentation is two spaces a level, no tabs")
        return
    yield from _json_content_findings(config.get("jsonContent"))
    theme = config.get("theme")
    if not any((root / folder).is_dir() for folder in (f"themes/{theme}", f"node_modules/hexo-theme-{theme}")):
        mend = "set `theme: seqlab`, or put the theme into blog/themes/"
        yield Finding("broken", "_config.yml", f"there is no theme {theme!r}", mend)


def _json_content_findings(settings: Any) -> Iterator[Finding]:
    """content.json is an array only when `meta` and `pages` are switched off and posts are not."""
    settings = settings if isinstance(settings, dict) else {}
    wrong = [name for name in ("meta", "pages") if settings.get(name) is not False]
    if wrong:
        what = f"jsonContent lacks {' and '.join(f'`{name}: false`' for name in wrong)}, so content.json is no array"
        yield Finding("broken", "_config.yml", what, f"add {', '.join(f'`{name}: false`' for name in wrong)} to it")
    if settings.get("posts") is False:
        yield Finding("broken", "_config.yml", "jsonContent has `posts: false`: search finds nothing", "remove it")


# ---- posts ----------------------------------------------------------------------------------------------------


def _post_findings(root: Path) -> Iterator[Finding]:
    posts = root / "source" / "_posts"
    addresses: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(posts.rglob("*.md")):
        where = str(path.relative_to(root))
        try:
            content = path.read_text(encoding="utf-8")
            head, body = front_matter.split(content) or ("", content)
            values = front_matter.parse(head, Path(where))
        except PublishError as error:
            place, _, what = str(error).partition(": ")
            yield Finding("broken", place, what, "correct that line; a text with : or # in it goes into quotes")
            continue
        except UnicodeDecodeError as error:
            yield Finding("broken", where, f"is not UTF-8 ({error.reason})", "save it as UTF-8")
            continue
        addresses[_address(path.relative_to(posts), values)].append(where)
        yield from _image_findings(root, path, where, body)
        if values.get("disableNunjucks") is not True:
            yield from _expression_findings(where, body)
    for (_, slug), twins in addresses.items():
        if len(twins) > 1:
            mend = "rename one of them, or give it a `permalink:` of its own"
            yield Finding("broken", ", ".join(twins), f"have the same address ({slug}): one hides the other", mend)


def _address(path: Path, values: dict[str, Any]) -> tuple[str, str]:
    """What decides a post's address: its day and its name, whose case some disks and servers do not tell apart."""
    if values.get("permalink"):
        return "", str(values["permalink"]).strip("/")
    name = unicodedata.normalize("NFC", path.with_suffix("").as_posix()).casefold()
    return str(values.get("date", ""))[:10], name


def _image_findings(root: Path, path: Path, where: str, body: str) -> Iterator[Finding]:
    for match in IMAGES.finditer(CODE.sub("", body)):
        source = match["markdown"] or match["html"]
        if ELSEWHERE.match(source) or "{" in source:
            continue
        folder = root / "source" if source.startswith("/") else path.with_suffix("")
        file = folder / source.split("?")[0].split("#")[0].lstrip("/")
        if not file.is_file():
            run = "put it there, or remove the image from the post"
            yield Finding("warning", where, f"the image {source} is missing ({file.relative_to(root)})", run)


def _expression_findings(where: str, body: str) -> Iterator[Finding]:
    """`{{ x }}` in the words of a post: hexo puts the value of x in its place, which is mostly nothing."""
    found = EXPRESSION.search(RAW.sub("", CODE.sub("", body)))
    if found:
        what = f"hexo evaluates {found[0]}, so the page will not show it"
        yield Finding("warning", where, what, "add `disableNunjucks: true` to its front matter")


# ---- the site as it was built ---------------------------------------------------------------------------------


def _built_findings(root: Path) -> Iterator[Finding]:
    public, failure = root / "public", last_failure(root)
    if failure is not None:
        yield Finding("broken", "build", *_failed(failure))
    if not public.is_dir():
        if failure is None:
            yield Finding("warning", "public", "the site is not built yet", "./inv blog.build")
        return
    if failure is None and (newer := _newer_than_built(root)):
        yield Finding("warning", "public", f"is older than {newer}", "./inv blog.build")
    what = content_problem(public)
    if what:
        yield Finding("broken", "public/content.json", what, _content_mend(what))
    for error in katex_errors(public, root):
        where, _, rest = error.partition(": ")
        yield Finding("broken", where, rest, "correct the formula, then ./inv blog.build")


def _failed(failure: str) -> tuple[str, str]:
    """The recorded failure of a build as a finding's sentence and mend."""
    sentence, _, mend = failure.partition("\n  next: ")
    own = "correct that, then ./inv blog.build"  # ./inv blog.check, which is running, helps nobody
    return f"the last build failed: {sentence}", own if not mend or "blog.check" in mend else mend


def _newer_than_built(root: Path) -> str:
    """A source of the site, a folder where one was removed included, that changed after the last build."""
    try:
        built = (root / "public" / "index.html").stat().st_mtime_ns
    except OSError:
        return ""
    sources = [root / "_config.yml", *(root / "source").rglob("*"), *(root / "themes").rglob("*")]
    changed = ((path.stat().st_mtime_ns, path) for path in sources if path.exists())
    when, newest = max(changed, default=(0, root))
    return str(newest.relative_to(root)) if when > built else ""


def _content_mend(what: str) -> str:
    if "array" in what:
        return "`meta: false` and `pages: false` under `jsonContent:` in _config.yml, then ./inv blog.build"
    if "not in the site's root" in what:
        return "hexo-generator-json-content in package.json and no other `file:`, then ./inv blog.build"
    return "./inv blog.build"
