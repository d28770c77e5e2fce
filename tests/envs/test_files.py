"""Atomic writing: old or new, never a part."""

import os
from pathlib import Path

import pytest

from envs.files import read_json, write_atomically, write_json


def test_write_and_read_back_chinese(tmp_path: Path) -> None:
    path = tmp_path / "运行 1.json"
    write_json(path, {"名": "值"})
    assert "值" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"名": "值"}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_read_json_gives_none_for_what_is_no_object(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    assert read_json(path) is None


def test_a_failing_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_mode_is_set_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_atomically(path, "x", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
