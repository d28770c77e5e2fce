"""TensorBoard events: written when possible, and never in the way."""

import os
import threading

import pytest

from seqlab.train.events import Events

pytest.importorskip("tensorboard", reason="events need tensorboard: pip install tensorboard")


def test_a_full_disk_is_one_note_and_no_stack_trace(tmp_path, monkeypatch, capfd):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(*_):
        raise OSError(28, os.strerror(28))

    before, notes = threading.excepthook, []
    events = Events(tmp_path / "tb", 0, notes)
    monkeypatch.setattr(RecordWriter, "write", full)
    for step in range(50):
        events.add(step, "a", 1.0)
    events.close()
    assert len(notes) == 1
    assert "no more TensorBoard events" in notes[0]
    assert "No space left" in notes[0]
    assert capfd.readouterr().err == ""
    assert threading.excepthook is before


def test_a_folder_that_cannot_be_made_is_a_note(tmp_path):
    before, notes = threading.excepthook, []
    (tmp_path / "tb").write_text("a file")
    events = Events(tmp_path / "tb", 0, notes)
    events.add(1, "a", 1.0)
    events.close()
    assert len(notes) == 1
    assert threading.excepthook is before


def test_errors_of_other_threads_are_not_taken(tmp_path, monkeypatch):
    seen, notes = [], []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    events = Events(tmp_path / "tb", 0, notes)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    events.close()
    assert len(seen) == 1
    assert notes == []
