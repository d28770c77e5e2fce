"""A finished run becomes a post: `source/_posts/<slug>.md` with its figures in the folder of the same name.

Written again, only what stands between the two marker lines changes, plus the head's `date`, `run`, `result` and
`disableNunjucks`. The title, the tags and everything else a person wrote stays. Every file is written beside its
place and renamed, and not at all when nothing changed. No process is started, nothing is fetched.
"""

import hashlib
import re
import shlex
import unicodedata
from pathlib import Path

from blog import front_matter, text
from blog.run_folder import Figure, Run, read_run
from blog.sections import post_body, result_line
from envs.errors import PublishError
from seqlab.files import replace_text

__all__ = ["BEGIN", "END", "post_path", "write_post"]

BEGIN = "<!-- seqlab:begin -->"
END = "<!-- seqlab:end -->"
SLUG_LENGTH = 60
EXTENT = re.compile(rb'<svg\b[^>]*?\bviewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)"')


def write_post(run_dir: Path, blog_root: Path) -> Path:
    """Write the post of a finished run, or renew the one it has, and return the Markdown file.

    Raises:
        PublishError: the run is not finished or its files are wrong; the post's place is taken by a file that is
            not this run's; or the post cannot be written. Nothing was changed then, except figures already copied.
    """
    run = read_run(run_dir)
    path = post_path(run.id, blog_root)
    folder, again = shlex.quote(str(path.parent)), _again(run)
    try:
        old = path.read_bytes().decode("utf-8") if path.exists() else None
        new = _post(run, old, path)
        for figure in run.figures:
            _copy_figure(figure, run_dir / "figures", path.with_suffix(""))
        _replace(path, new)
    except UnicodeDecodeError as error:
        raise PublishError(f"{path} or a figure is not UTF-8: {error}\n  next: move it away, then `{again}`") from error
    except OSError as error:
        raise PublishError(
            f"the post {error.filename or path} cannot be written: {error.strerror}\n"
            f"  next: `ls -ld {folder}` and `df -h {folder}`, then `{again}`"
        ) from error
    return path


def post_path(identity: str, blog_root: Path) -> Path:
    """Where the post of a run lies: always the same place for the same id."""
    return blog_root / "source" / "_posts" / f"{slug(identity)}.md"


def slug(identity: str) -> str:
    """A run's id as a file name and a part of an address: letters of any script, digits, `-` and `_`.

    An id that does not fit as it is gets eight characters of its checksum, so that two ids never share a post.
    """
    plain = re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", identity)).strip("-")[:SLUG_LENGTH]
    if plain == identity:
        return plain
    checksum = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{checksum}".lstrip("-")


def _post(run: Run, old: str | None, path: Path) -> str:
    """The whole text of the post: ours where ours belongs, the old text everywhere else."""
    body = f"{BEGIN}\n{post_body(run, _sizes(run))}{END}"
    if old is None:
        head, before, after = "", "\n", "\n"
    else:
        head, before, after = _persons_parts(old, run, path)
    ours = {
        "date": f"{run.finished:%Y-%m-%d %H:%M:%S}",
        "run": front_matter.quoted(text.one_line(run.id)),
        "disableNunjucks": "true",
    }
    if result := result_line(run.report.get("results", {})):
        ours["result"] = front_matter.quoted(result)
    tags = ", ".join(front_matter.quoted(text.one_line(tag)) for tag in ("training run", run.recipe) if tag)
    defaults = {"title": front_matter.quoted(text.one_line(run.title)), "tags": f"[{tags}]"}
    return f"---\n{front_matter.updated(head, path, ours, defaults)}---\n{before}{body}{after}"


def _persons_parts(old: str, run: Run, path: Path) -> tuple[str, str, str]:
    """An existing post's head, the text before our markers and the text after them.

    Raises:
        PublishError: the file is not the post of this run, or one of its markers is gone.
    """
    parts = front_matter.split(old)
    if parts is None or BEGIN not in old:
        raise PublishError(
            f"{path} is not a post made from a run, so it stays as it is\n  next: rename it, then `{_again(run)}`"
        )
    head, content = parts
    if content.count(BEGIN) != 1 or content.count(END) != 1 or content.index(END) < content.index(BEGIN):
        raise PublishError(
            f"{path} should have one line {BEGIN} and after it one line {END}\n"
            f"  next: put them back around the generated part, then `{_again(run)}`"
        )
    owner = front_matter.parse(head, path).get("run", run.id)
    if owner != text.one_line(run.id):
        raise PublishError(f"{path} belongs to the run {owner}, not {run.id}\n  next: rename it, then `{_again(run)}`")
    before, rest = content.split(BEGIN)
    return head, before, rest.split(END)[1]


def _again(run: Run) -> str:
    return f"./inv blog.post {shlex.quote(run.id)}"


def _sizes(run: Run) -> dict[str, tuple[int, int]]:
    """Width and height of each figure, from the `viewBox` of its light variant."""
    sizes = {}
    for figure in run.figures:
        with (run.folder / "figures" / f"{figure.name}.light.svg").open("rb") as file:
            extent = EXTENT.search(file.read(4096))
        if extent:
            sizes[figure.name] = round(float(extent[1])), round(float(extent[2]))
    return sizes


def _copy_figure(figure: Figure, source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for suffix in ("light.svg", "dark.svg", "csv"):
        name = f"{figure.name}.{suffix}"
        if (source / name).is_file():
            _replace(target / name, (source / name).read_bytes().decode("utf-8"))


def _replace(path: Path, content: str) -> None:
    """Give a file this content, at once or not at all; leave it alone when it has it already."""
    if path.is_file() and path.read_bytes() == content.encode("utf-8"):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, content)
