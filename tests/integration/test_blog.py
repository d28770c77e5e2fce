"""The blog with real node, hexo and Chromium: a run's post built, served and opened."""

import gzip
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from blog.check import check_site
from blog.post import write_post
from blog.site import build, page_of
from envs.errors import PublishError
from envs.node import NodeEnv, ensure
from tests.blog.run_folders import make_run, report_json

pytestmark = pytest.mark.xdist_group("blog")  # one worker: the built site is shared

BROWSER = Path(__file__).parent / "browser.mjs"
HOSTILE = "</script><script>document.title='taken'</script> {{ 7 * 7 }} {% raw %} ``` $x$ <!-- seqlab:end --> 好"
BY_HAND = """---
title: 隐马尔可夫模型
date: 2026-01-03 00:00:00
tags: [维特比]
---
行内 $a_{ij}$ 与代码

<!-- more -->

```python
x = 1
```
"""
MAX_PAGE_BYTES = 100_000
SERVE = (
    "import sys; from pathlib import Path; from blog.server import serve; serve(Path(sys.argv[1]), int(sys.argv[2]))"
)


@pytest.fixture(scope="session")
def node(root: Path) -> NodeEnv:
    """The node environment of the checkout, made on the first use; later uses need no network."""
    return ensure(root / "blog")


@pytest.fixture
def new_site(root: Path, node: NodeEnv, tmp_path: Path) -> Path:
    """A fresh copy of the site without posts."""
    return copy_site(root, tmp_path / "博客 'of' mine")


def copy_site(root: Path, target: Path) -> Path:
    """The blog's own files at another place, its packages shared by a link."""
    blog = root / "blog"
    target.mkdir(parents=True)
    for name in ("_config.yml", "package.json", "package-lock.json"):
        shutil.copy(blog / name, target)
    for name in ("themes", "scaffolds"):
        shutil.copytree(blog / name, target / name)
    (target / "source" / "_posts").mkdir(parents=True)
    (target / "node_modules").symlink_to(blog / "node_modules")
    (target / "secret.py").write_text("# no Python belongs into a site\n", encoding="utf-8")
    return target


@pytest.fixture(scope="session")
def site(root: Path, node: NodeEnv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built site of two runs, one with hostile texts, and a post written by hand."""
    base = tmp_path_factory.mktemp("blog")
    target = copy_site(root, base / "站点 with blanks")
    write_post(make_run(base / "runs" / "one"), target)
    report = report_json() | {"title": HOSTILE, "summary": [HOSTILE, HOSTILE]}
    report["examples"] = [{"text": HOSTILE, "gold": ["O"] * len(HOSTILE), "predicted": ["S-x"] * len(HOSTILE)}]
    write_post(make_run(base / "runs" / "two", id="恶意-1", report=report), target)
    (target / "source" / "_posts" / "隐马尔可夫.md").write_text(BY_HAND, encoding="utf-8")
    build(target)
    return target


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The built site behind a plain web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    handler = partial(Quiet, directory=site / "public")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_build_is_as_quiet_where_colours_are_forced(
    new_site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("FORCE_COLOR", "1")
    build(new_site)
    said = "".join(capfd.readouterr())
    assert "files generated" in said
    assert "Generated:" not in said
    assert "\x1b" not in said


Look = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def look(node: NodeEnv, address: str) -> Look:
    """Opens a page in Chromium: see browser.mjs."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium fonts-noto-cjk")

    def opened(path: str, *steps: str, **plan: Any) -> dict[str, Any]:
        plan |= {"chromium": chromium, "url": address + path, "steps": steps}
        done = subprocess.run(
            [node.node, BROWSER, json.dumps(plan)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return opened


def post_page(site: Path, slug: str) -> str:
    """The address of a post's page below the site's root."""
    page = page_of(site / "source" / "_posts" / f"{slug}.md", site)
    return urllib.request.pathname2url(str(page.parent.relative_to(site / "public"))) + "/"


RUN_ONE = "tagger-20260102-030405-a1b2"


def search_for(words: str) -> str:
    """A step that types into the search field and returns the titles found."""
    return f"""(async () => {{
      const field = document.getElementById('search');
      field.focus();
      field.value = {json.dumps(words)};
      field.dispatchEvent(new Event('input'));
      for (let i = 0; i < 50 && !document.querySelector('#found li'); i++) await new Promise(r => setTimeout(r, 20));
      await new Promise(r => setTimeout(r, 50));
      return [...document.querySelectorAll('#found li')].map(item => item.innerText);
    }})()"""


def test_content_json_is_an_array_of_title_date_path_and_tags(site: Path) -> None:
    posts = json.loads((site / "public" / "content.json").read_text(encoding="utf-8"))
    assert len(posts) == 3
    assert all(set(post) == {"title", "date", "path", "tags"} for post in posts)
    assert posts[0]["tags"] == [{"name": "维特比", "slug": "维特比"}]
    assert not [page for page in (site / "public").rglob("*") if page.is_file() and b"localhost" in page.read_bytes()]
    assert posts[0]["title"] == "隐马尔可夫模型"
    assert f"2026/01/02/{RUN_ONE}/" in {post["path"] for post in posts}


def test_the_check_finds_nothing_to_mend(site: Path) -> None:
    assert check_site(site) == []


def test_no_python_and_nothing_unfinished_gets_into_the_site(site: Path) -> None:
    names = [path.name for path in (site / "public").rglob("*")]
    assert not [name for name in names if name.endswith((".py", ".pyc", ".new", ".tmp"))]
    assert not (site / ".build").exists()
    assert not (site / "db.json").exists()


def test_formulas_are_rendered_at_build_time_and_text_is_escaped(site: Path) -> None:
    one = page_of(site / "source" / "_posts" / f"{RUN_ONE}.md", site).read_text(encoding="utf-8")
    assert one.count('class="katex-display"') == 2
    assert "katex-error" not in one
    assert "a-host" not in one
    two = page_of(site / "source" / "_posts" / "恶意-1.md", site).read_text(encoding="utf-8")
    assert "<script>document" not in two
    assert "49" not in two.split("<main")[1].split("Configuration")[0].split("Examples")[0]


def test_a_formula_in_a_lead_is_there_once(site: Path) -> None:
    front = (site / "public" / "index.html").read_text(encoding="utf-8")
    assert '<p class="lead">行内 a_{ij} 与代码</p>' in front


def test_lists_tell_posts_of_one_title_apart(site: Path) -> None:
    front = (site / "public" / "index.html").read_text(encoding="utf-8")
    result = "f1: BiLSTM-CRF 0.9299, Supervised HMM 0.6121 (baseline)"
    assert f'<p class="result"><code>{RUN_ONE}</code> {result}</p>' in front
    assert f"<small>{RUN_ONE}</small>" in (site / "public" / "archives" / "index.html").read_text(encoding="utf-8")


def test_a_posts_page_in_chromium(site: Path, look: Look) -> None:
    seen = look(
        post_page(site, RUN_ONE),
        "document.querySelector('h1').innerText",
        "document.fonts.ready.then(() => [...document.fonts].filter(f => f.status === 'loaded').map(f => f.family))",
        "[...document.querySelectorAll('.katex-html .mop')].map(e => getComputedStyle(e).fontFamily)[0]",
        "[...document.images].every(i => { i.loading = 'eager'; return i.alt.length > 0 })",
        "new Promise(r => setTimeout(r, 300)).then(() => [...document.images].map(i => i.naturalWidth > 0))",
        "document.querySelectorAll('.katex-mathml').length === document.querySelectorAll('.katex-html').length",
    )
    title, fonts, font_family, has_alt, images, once = seen["results"]
    assert "词法标注" in title
    assert "KaTeX_Main" in fonts
    assert "KaTeX" in font_family
    assert has_alt
    assert images == [True, True]
    assert once
    assert seen["console"] == seen["failed"] == []


def test_no_request_leaves_the_site_and_a_page_is_light(site: Path, look: Look, address: str) -> None:
    seen = look(post_page(site, RUN_ONE))
    assert seen["requests"]
    assert [request for request in seen["requests"] if not request.startswith((address, "data:"))] == []
    files = [urllib.request.urlopen(url).read() for url in seen["requests"] if not url.endswith(".svg")]
    assert sum(len(gzip.compress(file)) for file in files) < MAX_PAGE_BYTES  # as every web host sends them


def test_hostile_text_is_shown_and_does_nothing(site: Path, look: Look) -> None:
    seen = look(
        post_page(site, "恶意-1"),
        "document.title",
        "document.querySelector('h1').innerText",
        "[...document.querySelectorAll('.prose > p')].slice(0, 2).map(p => p.innerText)",
        "document.querySelector('.example dd').innerText",
    )
    title, heading, summary, example = seen["results"]
    assert title.startswith("</script>")
    assert heading == HOSTILE
    assert summary == [HOSTILE, HOSTILE]
    assert example == HOSTILE
    assert seen["console"] == []


@pytest.mark.parametrize(
    ("words", "found"),
    [("马尔可夫", "隐马尔可夫模型"), ("维特比", "隐马尔可夫模型"), ("LEXICAL 词法", "Finding the lexical classes")],
)
def test_search_finds_titles_and_tags(look: Look, words: str, found: str) -> None:
    seen = look("", search_for(words))
    assert len(seen["results"][0]) == 1
    assert found in seen["results"][0][0]
    assert seen["console"] == seen["failed"] == []


def test_search_from_a_post_leads_to_the_page(site: Path, look: Look) -> None:
    seen = look(post_page(site, RUN_ONE), search_for("维特比"), "document.querySelector('#found a').href")
    assert seen["results"][1].endswith(urllib.request.pathname2url("2026/01/03/隐马尔可夫/"))
    assert look("", search_for("nothing of the kind"))["results"] == [["Nothing found"]]


def test_phone_width_dark_mode_and_figures(site: Path, look: Look) -> None:
    wide = "document.documentElement.scrollWidth"
    ground = "getComputedStyle(document.body).backgroundColor"
    image = """document.images[0].loading = 'eager',
      new Promise(r => setTimeout(r, 200)).then(() => document.images[0].currentSrc)"""
    light = look(post_page(site, RUN_ONE), wide, ground, image, width=390)["results"]
    dark = look(post_page(site, RUN_ONE), wide, ground, image, width=390, dark=True)["results"]
    assert light[0] == dark[0] == 390
    narrow = "[...document.querySelectorAll('.scroll, .example')].map(e => e.scrollWidth - e.clientWidth)"
    (beyond,) = look(post_page(site, RUN_ONE), narrow, width=390)["results"]
    assert set(beyond) == {0}
    assert light[1] != dark[1]
    assert light[2].endswith("loss.light.svg")
    assert dark[2].endswith("loss.dark.svg")


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    public = site / "public"
    for page in public.rglob("*.html"):
        for link in re.findall(r'(?:href|src|srcset)="([^"#]+)', page.read_text(encoding="utf-8")):
            target = (page.parent / urllib.request.url2pathname(link)).resolve()
            assert target.exists(), f"{page.relative_to(public)}: {link}"
            assert target.is_relative_to(public)


def test_a_site_without_posts_builds_and_says_what_to_do(new_site: Path) -> None:
    front = build(new_site)
    assert "./inv blog.post" in front.read_text(encoding="utf-8")
    assert json.loads((front.parent / "content.json").read_text(encoding="utf-8")) == []


def test_building_again_gives_the_same_bytes_in_any_time_zone(
    site: Path, new_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(site / "source", new_site / "source", dirs_exist_ok=True)
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    build(new_site)

    def files(public: Path) -> dict[str, bytes]:
        return {str(path.relative_to(public)): path.read_bytes() for path in public.rglob("*") if path.is_file()}

    assert files(new_site / "public") == files(site / "public")


@pytest.mark.parametrize(
    ("post", "named"),
    [
        ("---\ntitle: x\n---\n$$\n\\frac{1}{\n$$\n", r"source/_posts/坏\.md: the formula '\\\\frac\{1\}\{' is wrong"),
        ("---\ntitle: x\n---\n{% include nothing %}\n", "hexo ended with"),
        ("---\ntitle: x: y\n---\nwords\n", r"source/_posts/坏\.md:2: the front matter is not valid YAML"),
    ],
)
def test_a_failed_build_leaves_the_old_site_and_the_reason(
    new_site: Path, capfd: pytest.CaptureFixture[str], post: str, named: str
) -> None:
    build(new_site)
    before = (new_site / "public" / "index.html").stat().st_ino
    (new_site / "source" / "_posts" / "坏.md").write_text(post, encoding="utf-8")
    with pytest.raises(PublishError, match=named):
        build(new_site)
    assert (new_site / "public" / "index.html").stat().st_ino == before
    assert not (new_site / ".build").exists()
    assert "    at " not in capfd.readouterr().err
    assert "the last build failed" in {f.where: f.what for f in check_site(new_site)}["build"]
    (new_site / "source" / "_posts" / "坏.md").unlink()
    build(new_site)
    assert check_site(new_site) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_shows_a_new_post_and_leaves_nothing_behind(
    root: Path, new_site: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(new_site), str(port)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/content.json", "[]")
            write_post(make_run(tmp_path / "run"), new_site)
            wait_for(f"http://127.0.0.1:{port}/content.json", RUN_ONE)
            wrong = new_site / "source" / "_posts" / "wrong.md"
            wrong.write_text("---\ntitle: wrong\n---\n$\\frac{1}{$\n", encoding="utf-8")
            wait_for(f"http://127.0.0.1:{port}/content.json", '"wrong"')
            server.send_signal(ending)
            assert server.wait(20) == 0
            assert server.stdout is not None
            said = server.stdout.read()
            assert "KaTeX parse error" in said  # what is wrong, without where in KaTeX's code
            assert "    at " not in said
            assert "already exists" not in said
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
    assert not group_members(server.pid)


def wait_for(url: str, content: str) -> None:
    """Ask until the answer has `content`, for at most 20 s."""
    deadline, answer = time.monotonic() + 20, ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                answer = response.read().decode()
        except OSError as error:
            answer = str(error)
        if content in answer:
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} never had {content!r}, at last {answer!r}")


def group_members(group: int) -> list[str]:
    """The processes that are still in a process group."""
    table = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in table.splitlines())
    return [row[2] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]
