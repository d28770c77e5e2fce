"""Records that can be cut back to a checkpoint."""

import builtins

import pytest

from seqlab.errors import SeqlabError
from seqlab.train.records import Records


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


@pytest.mark.parametrize(
    "bad",
    [
        b'{"step": 2, "na',
        b"\x00\xff\xfe",
        b"[" * 100_000,
        b"null",
        b'{"step": 2}',
        b'{"step": "2", "name": "b", "value": 1.0}',
        b'{"step": 2, "name": "b", "value": NaN}',
        b'{"step": 2, "name": "b", "value": ' + b"9" * 5000 + b"}",
    ],
)
def test_damaged_lines_are_dropped_with_a_note(tmp_path, bad):
    good = [b'{"step": 1, "name": "a", "value": 0.5}\n', b'{"step": 3, "name": "a", "value": 0.25}\n']
    data = good[0] + bad + b"\n" + good[1]
    (tmp_path / "metrics.jsonl").write_bytes(data + b"later\n")
    records = Records(tmp_path, offset=len(data), step=3)
    assert [tuple(metric) for metric in records.kept] == [(1, "a", 0.5), (3, "a", 0.25)]
    assert any("1 damaged line(s) dropped" in note for note in records.notes)
    records.add(4, {"a": 0.125})
    assert records.sync() == (tmp_path / "metrics.jsonl").stat().st_size
    records.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(good) + b'{"step": 4, "name": "a", "value": 0.125}\n'


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
