"""What `blog.check` finds, one cause at a time."""

import json
import os
from pathlib import Path

import pytest

from blog.check import Finding, check_site, exit_code, lines

HEAD = "---\ntitle: x\ndate: 2026-01-02 03:04:05\n---\n"


@pytest.fixture
def site(root: Path, blog: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hexo folder that is in order, with node said to be."""
    for name in ("_config.yml", "package.json"):
        (blog / name).write_bytes((root / "blog" / name).read_bytes())
    (blog / "themes" / "seqlab").mkdir(parents=True)
    (blog / "public").mkdir()
    (blog / "public" / "content.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr("blog.check.problem", lambda root: None)
    return blog


def only(site: Path) -> Finding:
    (finding,) = check_site(site)
    return finding


def post(site: Path, name: str, text: str) -> Path:
    path = site / "source" / "_posts" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_site_in_order(site: Path) -> None:
    post(site, "a.md", f"{HEAD}words ![x](https://e.org/x.png) `![](none.png)`\n\n```\n![](none.png)\n```\n")
    assert check_site(site) == []
    assert exit_code([]) == 0
    assert lines([]) == "the blog is in order"


def test_node_is_looked_at(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blog.check.problem", lambda root: "node is gone\n  next: get it")
    assert only(site) == Finding("broken", "node", "node is gone", "get it")
    monkeypatch.setattr("blog.check.problem", lambda root: "not made yet")
    assert (only(site).level, only(site).mend) == ("warning", "./inv blog.build")


def test_a_missing_plugin_is_named(site: Path) -> None:
    package = json.loads((site / "package.json").read_text(encoding="utf-8"))
    del package["dependencies"]["hexo-generator-json-content"]
    (site / "package.json").write_text(json.dumps(package), encoding="utf-8")
    assert "hexo-generator-json-content is missing: it makes content.json" in only(site).what


def test_a_package_file_that_is_none(site: Path) -> None:
    (site / "package.json").write_text("{", encoding="utf-8")
    assert only(site).where == "package.json"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  meta: false", "  meta: true", "lacks `meta: false`"),
        ("  pages: false\n", "", "lacks `pages: false`"),
        ("jsonContent:", "other:", "lacks `meta: false` and `pages: false`"),
        ("theme: seqlab", "theme: yilia", "no theme 'yilia'"),
    ],
)
def test_configuration(site: Path, old: str, new: str, named: str) -> None:
    path = site / "_config.yml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert named in only(site).what


def test_configuration_that_is_no_yaml_is_named_with_its_line(site: Path) -> None:
    path = site / "_config.yml"
    path.write_text("title: x\n\ttabbed: y\n", encoding="utf-8")
    assert only(site).where == "_config.yml:2"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "not in the site's root"),
        ("{half", "not valid JSON"),
        ('{"posts": []}', "holds an dict where an array"),
    ],
)
def test_content_json(site: Path, content: str | None, named: str) -> None:
    path = site / "public" / "content.json"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert named in only(site).what
    assert only(site).level == "broken"


def test_content_json_in_another_folder(site: Path) -> None:
    (site / "public" / "data").mkdir()
    (site / "public" / "content.json").rename(site / "public" / "data" / "content.json")
    assert "there is one in data/" in only(site).what


def test_a_wrong_formula_is_named_with_its_post(site: Path) -> None:
    post(site, "坏公式.md", HEAD)
    page = site / "public" / "2026" / "坏公式" / "index.html"
    page.parent.mkdir(parents=True)
    title = "ParseError: KaTeX parse error: Expected &#x27;}&#x27;"
    page.write_text(f'<span class="katex-error" title="{title}" style="x">\\frac{{1</span>', encoding="utf-8")
    finding = only(site)
    assert finding.where == "source/_posts/坏公式.md"
    assert "'\\\\frac{1' is wrong: ParseError: KaTeX parse error: Expected '}'" in finding.what


def test_a_site_that_was_never_built(site: Path) -> None:
    (site / "public" / "content.json").unlink()
    (site / "public").rmdir()
    assert (only(site).level, only(site).mend) == ("warning", "./inv blog.build")


def test_the_last_build_failed(site: Path) -> None:
    (site / ".build-failed").write_text("a.md: the formula is wrong\n  next: `./inv blog.check`", encoding="utf-8")
    finding = only(site)
    assert (finding.level, finding.what) == ("broken", "the last build failed: a.md: the formula is wrong")
    assert finding.mend == "correct that, then ./inv blog.build"


def test_a_site_older_than_its_source(site: Path) -> None:
    page, written = site / "public" / "index.html", post(site, "a.md", HEAD)
    page.write_text("x", encoding="utf-8")
    os.utime(page, ns=(0, max(path.stat().st_mtime_ns for path in site.rglob("*"))))
    assert check_site(site) == []
    os.utime(written, ns=(0, page.stat().st_mtime_ns + 1))
    assert (only(site).level, only(site).mend) == ("warning", "./inv blog.build")
    assert only(site).what == "is older than source/_posts/a.md"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("{{ x }}", True),
        ("`{{ x }}`", False),
        ("```\n{{ x }}\n```\n", False),
        ("{% raw %}{{ x }}{% endraw %}", False),
        ("{% asset_link x %}", False),
    ],
)
def test_words_that_hexo_would_evaluate(site: Path, words: str, found: bool) -> None:
    post(site, "a.md", HEAD + words)
    assert ["evaluates {{ x }}" in finding.what for finding in check_site(site)] == [True] * found
    post(site, "a.md", HEAD.replace("title", "disableNunjucks: true\ntitle") + words)
    assert check_site(site) == []


@pytest.mark.parametrize(
    "image",
    [
        "![alt](none.png)",
        '<img alt="x" src="none.png">',
        '<picture><source srcset="none.png"></picture>',
        "![](/none.png)",
    ],
)
def test_a_missing_image(site: Path, image: str) -> None:
    post(site, "a.md", HEAD + image)
    assert "none.png is missing" in only(site).what
    assert exit_code(check_site(site)) == 1


def test_images_that_are_there(site: Path) -> None:
    post(site, "a.md", HEAD + '![alt](图.png "title") ![](/top.png)')
    post(site, "a/图.png", "")
    (site / "source" / "top.png").write_text("", encoding="utf-8")
    assert check_site(site) == []


def test_two_posts_with_one_address(site: Path) -> None:
    post(site, "one.md", HEAD)
    post(site, "One.md", HEAD)
    assert only(site).where == "source/_posts/One.md, source/_posts/one.md"


@pytest.mark.parametrize(
    ("head", "line"),
    [("title: a: b\n", 2), ("title: x\ntags:\n\t- y\n", 4), ("title: x\ndate: 2026-13-45\n", 1), ("- list\n", 2)],
)
def test_a_head_that_is_no_yaml_is_named_with_its_line(site: Path, head: str, line: int) -> None:
    post(site, "坏.md", f"---\n{head}---\nwords\n")
    assert only(site).where == f"source/_posts/坏.md:{line}"
    assert exit_code(check_site(site)) == 2


def test_a_post_that_is_not_utf8(site: Path) -> None:
    (site / "source" / "_posts" / "a.md").write_bytes(HEAD.encode() + "中".encode("gbk"))
    assert "is not UTF-8" in only(site).what
