"""Builds the site, so that a failed build leaves the old one, and serves it.

`build` starts `node …/hexo generate` in the blog's root. It writes only `.build/` (configuration, database and
pages of this build; removed afterwards), `.build.lock` and, at the very end, `public/`. `serve` starts
`node …/hexo server` on this machine's own address. Neither uses the network once node's environment stands.
"""

import fcntl
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import PublishError
from envs.node import NodeEnv, ensure

__all__ = ["build", "content_problem", "katex_errors", "page_of"]

# hexo prints a line for every file, and the markdown plugin where in its own code a formula failed.
QUIET = re.compile(r"INFO  Generated: |    at ")
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
        with _clean_folder(blog_root) as folder:
            _generate(node, blog_root, folder)
            _judge(folder / "public", blog_root)
            _swap(folder / "public", blog_root / "public", folder / "old")
    except OSError as error:
        raise PublishError(
            f"the site cannot be written: {error.strerror}: {error.filename}\n"
            f"  next: `ls -ld {blog_root}` and `df -h {blog_root}`, then `./inv blog.build`"
        ) from error
    return blog_root / "public" / "index.html"


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
    with subprocess.Popen(command, cwd=blog_root, env=node.environ(), stdout=subprocess.PIPE, text=True) as hexo:
        for line in hexo.stdout or ():
            if not QUIET.match(line):
                print(line, end="", flush=True)
    if hexo.returncode != 0:
        raise PublishError(f"hexo ended with {hexo.returncode}; its own words are above\n  next: `./inv blog.check`")


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
