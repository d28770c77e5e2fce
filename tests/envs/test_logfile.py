"""The log keeps what a terminal would show, whatever pieces the bytes come in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.logfile import LogFile


def logged(path: Path, *pieces: bytes) -> str:
    path.unlink(missing_ok=True)
    log = LogFile(path)
    for piece in pieces:
        log.feed(piece)
    log.close()
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"no newline at the end", "no newline at the end\n"),
        (b"10 %\r50 %\r100 %\ndone\n", "100 %\ndone\n"),
        (b"100 %\r   \r\n", "100 %\n"),
        (b"\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x07link\x1b]8;;\x07\n", "red and link\n"),
        ("蝴蝶\n".encode(), "蝴蝶\n"),
        (b"\xff broken\n", "\ufffd broken\n"),
        (b"\n\n", "\n\n"),
        (b"", ""),
    ],
)
def test_what_is_kept(tmp_path: Path, printed: bytes, kept: str) -> None:
    assert logged(tmp_path / "log.txt", printed) == kept


@given(text=st.text(alphabet="ab蝶\r\n\x1b[0m", max_size=40), cut=st.integers(0, 40))
def test_pieces_make_no_difference(tmp_path_factory: pytest.TempPathFactory, text: str, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    data = text.encode()
    assert logged(path, data[:cut], data[cut:]) == logged(path, data)


def test_notes_come_on_lines_of_their_own(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log.txt")
    log.feed(b"half a line")
    log.note("stopped")
    log.close()
    assert (tmp_path / "log.txt").read_text() == "half a line\n[runner] stopped\n"


def test_an_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    kept = logged(tmp_path / "log.txt", *[b"x" * 10_000] * 100, b"end\n")
    assert kept.endswith("end\n")
    assert len(kept) < 200_000
