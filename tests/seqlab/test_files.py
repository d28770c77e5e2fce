"""Files that are whole or absent."""

import json
import os

import pytest

from seqlab.files import describe_os_error, read_json, replace_file, replace_json


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_replace_leaves_the_new_contents_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    replace_json(path, {"汉字": 1.5})
    replace_json(path, {"汉字": 2})
    assert json.loads(path.read_text("utf-8")) == {"汉字": 2}
    assert names(tmp_path) == ["a.json"]


def test_a_failed_replace_keeps_the_old_contents(tmp_path, monkeypatch):
    path = tmp_path / "a"
    replace_file(path, b"old")
    monkeypatch.setattr("seqlab.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        replace_json(tmp_path / "a", {"x": float("nan")})


def test_os_errors_become_advice():
    assert "free some space" in str(describe_os_error(OSError(28, "No space left on device"), "writing"))
    assert "Permission denied while writing (f)" in str(
        describe_os_error(PermissionError(13, "Permission denied", "f"), "writing")
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff", b"\x00"])
def test_what_is_no_object_reads_as_none(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert read_json(path) is None
    assert read_json(tmp_path / "missing.json") is None


def test_a_secret_file_is_never_readable_by_others(tmp_path):
    path = tmp_path / "secret.json"
    replace_json(path, {"a": "b"}, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_bytes_that_are_no_text_come_back_as_they_were(tmp_path):
    path = tmp_path / "environment.json"
    odd = os.fsdecode(b"\xff\xfe")
    replace_json(path, {"ODD": odd})
    assert read_json(path) == {"ODD": odd}
