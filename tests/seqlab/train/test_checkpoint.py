"""Checkpoint files: whole or absent, verified, never pickled."""

import errno
import json
import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from seqlab.errors import CheckpointError, SeqlabError
from seqlab.train import checkpoint as module
from seqlab.train.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, load_newest, save_checkpoint

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3).T,
    "scalar": torch.tensor(3),
    "flags": torch.tensor([True, False]),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "empty": torch.zeros(0, 4),
}


def save(folder, step, value=0.1):
    return save_checkpoint(folder, step, Checkpoint(TENSORS, {"step": step, "value": value}))


def test_round_trip(tmp_path):
    loaded = load_checkpoint(save(tmp_path, 3))
    assert loaded.metadata == {"step": 3, "value": 0.1}
    assert loaded.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_the_newest_is_loaded_and_two_are_kept(tmp_path):
    for step in (5, 10, 100, 20):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000020.safetensors",
        "step-00000100.safetensors",
    ]
    found, notes = load_newest(tmp_path)
    assert found.metadata["step"] == 100
    assert notes == []


def test_no_folder_means_no_checkpoint(tmp_path):
    assert load_newest(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("where", [3, 60, 300, -1])
def test_any_changed_byte_is_noticed(tmp_path, where):
    path = save(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[where] ^= 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_changed_metadata_is_noticed(tmp_path):
    path = save(tmp_path, 1)
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["metadata"] = header["__metadata__"]["metadata"].replace("0.1", "0.2")
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint(path)


@pytest.mark.parametrize("length", [0, 4, 100, 500])
def test_a_file_cut_short_falls_back(tmp_path, length):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    newest.write_bytes(newest.read_bytes()[:length])
    found, notes = load_newest(tmp_path)
    assert found.metadata["step"] == 1
    assert len(notes) == 1
    assert "falling back to step-00000001" in notes[0]
    assert not newest.exists()
    assert newest.with_suffix(".damaged").exists()


def test_another_programs_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "step-00000001.safetensors")
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        load_newest(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_half_file_and_the_older_intact(tmp_path, monkeypatch, code):
    older = save(tmp_path, 1)

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("seqlab.files.os.fsync", full)
    with pytest.raises(SeqlabError, match=r"no room left on the disk while writing a checkpoint.*free some space"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [older.name]
    assert load_checkpoint(older).metadata["step"] == 1


def test_a_killed_writers_leftover_is_removed(tmp_path):
    save(tmp_path, 1)
    leftover = tmp_path / ".step-00000002.safetensors.4711.tmp"
    leftover.write_bytes(b"half")
    load_newest(tmp_path)
    assert not leftover.exists()


def test_nothing_is_unpickled():
    source = module.__loader__.get_source(module.__name__)
    assert "torch.load" not in source
    assert "import pickle" not in source


def test_names_sort_by_step(tmp_path):
    paths = [checkpoint_path(tmp_path, step) for step in (9, 10, 99, 100_000)]
    assert paths == sorted(paths)
