"""A run's post: where it lies, what of a person's work survives, and what is refused."""

from pathlib import Path

import pytest

from blog import front_matter
from blog.post import BEGIN, END, post_path, slug, write_post
from envs.errors import PublishError
from tests.blog.run_folders import make_run


def head_of(post: Path) -> dict[str, object]:
    parts = front_matter.split(post.read_text(encoding="utf-8"))
    assert parts is not None
    return front_matter.parse(parts[0], post)


def test_a_post_has_its_head_its_markers_and_its_figures(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    assert post == blog / "source" / "_posts" / "tagger-20260102-030405-a1b2.md"
    assert head_of(post)["title"] == "Finding the lexical classes of Python source 词法标注"
    assert str(head_of(post)["date"]) == "2026-01-02 03:07:36"
    assert head_of(post)["disableNunjucks"] is True
    assert head_of(post)["result"] == "f1: BiLSTM-CRF 0.9299, Supervised HMM 0.6121 (baseline)"
    assert head_of(post)["tags"] == ["training run", "tagger"]
    figures = sorted(path.name for path in post.with_suffix("").iterdir())
    assert figures == [f"{n}.{s}" for n in ("loss", "transitions") for s in ("csv", "dark.svg", "light.svg")]


def test_writing_again_changes_no_byte_and_touches_no_file(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in blog.rglob("*") if path.is_file()}
    assert write_post(run, blog) == post
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in blog.rglob("*") if path.is_file()}
    assert before == after


def test_what_a_person_wrote_survives(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    text = post.read_text(encoding="utf-8")
    text = text.replace("tags: [", "cover: 封面.png  # mine\ntags: [论文, ")
    text = text.replace(BEGIN, f"My words before.\n\n{BEGIN}").replace(END, f"{END}\n\n后记 {{{{ not a tag }}}}\n")
    text = text.replace('title: "Finding', 'title: "My finding')
    post.write_text(text.replace("## Results", "## Scribbled over"), encoding="utf-8")
    write_post(run, blog)
    assert post.read_text(encoding="utf-8") == text
    assert head_of(post)["tags"] == ["论文", "training run", "tagger"]


def test_lines_of_windows_and_a_missing_own_line_survive(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    text = post.read_text(encoding="utf-8").replace("disableNunjucks: true\n", "")
    post.write_bytes(text.replace(f"\n{BEGIN}", f"\r\nmine\r\n{BEGIN}").encode())
    write_post(run, blog)
    assert head_of(post)["disableNunjucks"] is True
    assert f"\r\nmine\r\n{BEGIN}".encode() in post.read_bytes()


def test_a_resumed_run_moves_the_date_only(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    make_run(run, finished="2026-02-03T00:00:00Z")
    write_post(run, blog)
    assert str(head_of(post)["date"]) == "2026-02-03 00:00:00"
    assert post.read_text(encoding="utf-8").count("date:") == 1


@pytest.mark.parametrize(
    "title", ["a: b # c", '"quoted"', "- x", "---", "{{x}}", "好", "💥", "a\nb\u2028c\x00", "\ud800"]
)
def test_any_title_is_a_valid_head(tmp_path: Path, blog: Path, title: str) -> None:
    post = write_post(make_run(tmp_path / "r", report={"title": title}), blog)
    assert head_of(post)["title"]


def test_an_id_decides_the_place_and_no_two_share_one(blog: Path) -> None:
    ids = ["词法-1", "词法 1", "词法/1", "a.b", "a-b", "../../etc/passwd", "💥", "x" * 300, "x" * 301, "A'; rm -rf ~"]
    slugs = [slug(identity) for identity in ids]
    assert len(set(slugs)) == len(ids)
    assert slug("词法-1") == "词法-1"
    for identity, name in zip(ids, slugs, strict=True):
        assert slug(identity) == name
        assert post_path(identity, blog).parent == blog / "source" / "_posts"
        assert len(f"{name}.md".encode()) < 255


def test_a_foreign_file_is_not_overwritten(run: Path, blog: Path) -> None:
    path = post_path("tagger-20260102-030405-a1b2", blog)
    path.write_text("---\ntitle: mine\n---\nmine\n", encoding="utf-8")
    with pytest.raises(PublishError, match="not a post made from a run"):
        write_post(run, blog)
    assert path.read_text(encoding="utf-8") == "---\ntitle: mine\n---\nmine\n"
    assert not path.with_suffix("").exists()


@pytest.mark.parametrize("broken", ["", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_lost_marker_is_said(run: Path, blog: Path, broken: str) -> None:
    post = write_post(run, blog)
    head = post.read_text(encoding="utf-8").split(BEGIN)[0]
    post.write_text(head + (broken or BEGIN), encoding="utf-8")
    with pytest.raises(PublishError, match="put them back"):
        write_post(run, blog)


def test_another_runs_post_is_not_overwritten(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    post.write_text(post.read_text(encoding="utf-8").replace('run: "tagger', 'run: "other'), encoding="utf-8")
    with pytest.raises(PublishError, match="belongs to the run other"):
        write_post(run, blog)


def test_a_broken_head_is_named_with_its_line(run: Path, blog: Path) -> None:
    post = write_post(run, blog)
    text = post.read_text(encoding="utf-8").replace("disableNunjucks", "mood: a: b\ndisableNunjucks")
    post.write_text(text, encoding="utf-8")
    with pytest.raises(PublishError, match=r"a1b2\.md:4: the front matter is not valid YAML"):
        write_post(run, blog)
    assert post.read_text(encoding="utf-8") == text


def test_an_unfinished_run_writes_nothing(tmp_path: Path, blog: Path) -> None:
    with pytest.raises(PublishError, match="is running"):
        write_post(make_run(tmp_path / "r", state="running"), blog)
    assert not list(blog.rglob("*.*"))


def test_a_place_that_cannot_be_written_is_named(run: Path, blog: Path) -> None:
    (blog / "source" / "_posts").rmdir()
    (blog / "source" / "_posts").write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(
        PublishError, match=r"cannot be written: (Not a directory|File exists)\n  next: `ls -ld '/.* blanks/"
    ):
        write_post(run, blog)
