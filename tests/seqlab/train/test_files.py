"""Files that are whole or absent, and records that can be cut back."""

import builtins
import json

import pytest

from seqlab.errors import SeqlabError
from seqlab.train.files import describe_os_error, replace_file, replace_json
from seqlab.train.records import Records


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
    monkeypatch.setattr("seqlab.train.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
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


def test_records_are_cut_at_the_offset(tmp_path):
    records = Records(tmp_path, offset=0, step=0)
    records.add(1, {"a": 0.1, "b": 2.0})
    offset = records.sync()
    records.add(2, {"a": 0.3})
    records.close()
    again = Records(tmp_path, offset=offset, step=1)
    assert [tuple(metric) for metric in again.kept] == [(1, "a", 0.1), (1, "b", 2.0)]
    assert (tmp_path / "metrics.jsonl").stat().st_size == offset
    again.close()


def test_lost_records_are_told(tmp_path):
    records = Records(tmp_path, offset=10, step=1)
    records.close()
    assert any("shorter than the checkpoint" in note for note in records.notes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_an_error(tmp_path, value):
    records = Records(tmp_path, offset=0, step=0)
    with pytest.raises(SeqlabError, match="train/loss became"):
        records.add(7, {"train/loss": value})
    records.close()


def test_without_tensorboard_there_is_a_note(tmp_path, monkeypatch):
    real = builtins.__import__

    def fake(name, *arguments):
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fake)
    records = Records(tmp_path, offset=0, step=0)
    records.add(1, {"a": 1.0})
    records.close()
    assert any("no TensorBoard events" in note for note in records.notes)
    assert not (tmp_path / "tb").exists()
