"""Builds the site, so that a failed build leaves the old one.

`build` starts `node …/hexo generate` in the blog's root. It writes only `.build/` (configuration, database and
pages of this build; removed afterwards), `.build.lock` and, at the very end, `public/` or, where the build failed,
`.build-failed` with the reason, for `blog.check`. It uses no network once node's environment stands.
"""

import fcntl
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blog import front_matter
from envs.errors import PublishError
from envs.node import NodeEnv, ensure
from seqlab.files import replace_text

__all__ = ["build", "content_problem", "is_stack", "katex_errors", "last_failure", "page_of"]

FAILED = ".build-failed"
# hexo prints a line for every file.
QUIET = re.compile(r"INFO  Generated: ")
# Where in the code of hexo or of a plugin an error arose, with the fields node prints after it.
STACK = re.compile(r" {4}at .+|  (?:position|length|rawMessage|code|errno|cause): .*|\}$")
# hexo goes on after these, without the file they are about.
ERROR = re.compile(r"(?:ERROR|FATAL) +(?P<what>.+)")
UNREAD = re.compile(r"Process failed: (?P<file>.+)")
KATEX_ERROR = re.compile(
    r"<(?:span|p)\b(?=[^>]*\bkatex-error\b)[^>]*?\btitle=(?P<quote>[\"'])(?P<why>.*?)(?P=quote)[^>]*>(?P<formula>[^<]*)<",
    re.DOTALL,
)


def build(blog_root: Path, registry: str | None = None) -> Path:
    """Build the site into `public/` and return its front page.

    Raises:
        PublishError: hexo failed, a formula is wrong, or `content.json` is; `public/` is as it was before.
        EnvironmentBroken: node or the blog's packages cannot be made to work.
    """
    blog_root = blog_root.resolve()
    node = ensure(blog_root, registry)
    try:
        with _clean_folder(blog_root) as folder, _remembered(blog_root):
            _generate(node, blog_root, folder)
            _judge(folder / "public", blog_root)
            _swap(folder / "public", blog_root / "public", folder / "old")
    except OSError as error:
        place = shlex.quote(str(blog_root))
        raise PublishError(
            f"the site cannot be written: {error.strerror}{f': {error.filename}' if error.filename else ''}\n"
            f"  next: `ls -ld {place}` and `df -h {place}`, then `./inv blog.build`"
        ) from error
    return blog_root / "public" / "index.html"


def last_failure(blog_root: Path) -> str | None:
    """Why the last build failed; None when it did not."""
    try:
        return (blog_root / FAILED).read_text(encoding="utf-8")
    except OSError:
        return None


@contextmanager
def _remembered(blog_root: Path) -> Iterator[None]:
    """Keep the reason when the build in the block fails; forget an earlier one when it does not."""
    try:
        yield
    except PublishError as error:
        replace_text(blog_root / FAILED, str(error))
        raise
    (blog_root / FAILED).unlink(missing_ok=True)


@contextmanager
def _clean_folder(blog_root: Path) -> Iterator[Path]:
    """An empty `.build/`, ours alone as long as the block runs."""
    folder = blog_root / ".build"
    with (blog_root / ".build.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _generate(node: NodeEnv, blog_root: Path, folder: Path) -> None:
    """Run hexo with everything it writes kept inside `folder`; its words are passed on."""
    (folder / "output.yml").write_text("public_dir: .build/public\n", encoding="utf-8")
    command = node.hexo("generate", "--bail", "--config", "_config.yml,.build/output.yml", "--output", str(folder))
    errors = []
    with subprocess.Popen(
        command, cwd=blog_root, env=node.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace",
    ) as hexo:  # fmt: skip
        for line in hexo.stdout or ():
            if not QUIET.match(line) and not is_stack(line):
                print(line, end="", file=sys.stderr, flush=True)
            if error := ERROR.match(line):
                errors.append(error["what"])
    if unread := [match["file"] for error in errors if (match := UNREAD.match(error))]:
        raise PublishError("\n".join([*(_unread(file, blog_root) for file in unread), "  next: `./inv blog.check`"]))
    if hexo.returncode != 0 or errors:
        what = f"hexo ended with {hexo.returncode}" if hexo.returncode else f"hexo reports: {errors[0]}"
        raise PublishError(f"{what}; its own words are above\n  next: `./inv blog.check`")


def is_stack(line: str) -> bool:
    """Whether a line that hexo printed is of use to nobody who writes a post."""
    return STACK.match(line) is not None


def _unread(file: str, blog_root: Path) -> str:
    """Why hexo left a file out, in our words where the reason is its front matter."""
    path = Path("source") / file
    try:
        head, _ = front_matter.split((blog_root / path).read_text(encoding="utf-8")) or ("", "")
        front_matter.parse(head, path)
    except PublishError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"{path}: cannot be read: {error}"
    return f"{path}: hexo cannot read it; its own words are above"


def _judge(public: Path, blog_root: Path) -> None:
    """Refuse a site that hexo calls finished and that is not."""
    if not (public / "index.html").is_file() or not (public / "index.html").stat().st_size:
        raise PublishError("hexo made no front page\n  next: `./inv blog.check`")
    problem = content_problem(public)
    if problem:
        raise PublishError(f"{problem}\n  next: `./inv blog.check`")
    errors = katex_errors(public, blog_root)
    if errors:
        raise PublishError("\n".join([*errors, "  next: correct the formula, then `./inv blog.build`"]))


def content_problem(public: Path) -> str | None:
    """Why search, and the theme yilia, cannot read `content.json` of a built site; None when they can."""
    path = public / "content.json"
    if not path.is_file():
        elsewhere = next(public.rglob("content.json"), None)
        where = f"; there is one in {elsewhere.relative_to(public).parent}/" if elsewhere else ""
        return f"content.json is not in the site's root{where}"
    try:
        posts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"content.json is not valid JSON ({error})"
    if not isinstance(posts, list):
        return f"content.json holds an {type(posts).__name__} where an array of posts is expected"
    return None


def katex_errors(public: Path, blog_root: Path) -> list[str]:
    """Formulas that KaTeX could not render, each as `file: formula: why`. hexo itself ends with 0 on them."""
    errors = []
    for page in sorted(public.rglob("*.html")):
        source = page.read_text(encoding="utf-8", errors="replace")
        if "katex-error" not in source:
            continue
        for match in KATEX_ERROR.finditer(source):
            formula, why = (" ".join(html.unescape(match[name]).split()) for name in ("formula", "why"))
            errors.append(f"{_source(page, blog_root)}: the formula {formula!r} is wrong: {why}")
    return errors


def _source(page: Path, blog_root: Path) -> Path:
    """The post a page was made from, or else the page, relative to the blog."""
    posts = blog_root / "source" / "_posts"
    post = next((path for path in posts.rglob("*.md") if path.stem == page.parent.name), page)
    return post.relative_to(blog_root)


def page_of(post: Path, blog_root: Path) -> Path:
    """The built page of a post; the front page while it has none."""
    public = blog_root / "public"
    pages = (page for page in public.rglob("index.html") if page.parent.name == post.stem)
    return next(pages, public / "index.html")


def _swap(new: Path, public: Path, old: Path) -> None:
    """Put the new site in the old one's place; two renames, and back again if the second fails."""
    if public.exists():
        public.rename(old)
    try:
        new.rename(public)
    except OSError:
        if old.exists():
            old.rename(public)
        raise
