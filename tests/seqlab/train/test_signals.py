"""Signals: raised at once outside a held block, at its end inside, and fatal the second time."""

import os
import signal
import subprocess
import sys

import pytest

from seqlab.train.signals import StopRequest, StopSignals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_outside_a_held_block_it_raises_at_once(signum, code):
    with StopSignals(), pytest.raises(StopRequest) as caught:
        os.kill(os.getpid(), signum)
    assert caught.value.exit_code == code
    assert caught.value.name == signum.name


def test_inside_a_held_block_it_waits_for_the_end():
    done = []

    def work(signals):
        with signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            with signals.held():
                done.append("inner")
            done.append("outer")
        done.append("after")

    with StopSignals() as signals, pytest.raises(StopRequest):
        work(signals)
    assert done == ["inner", "outer"]


def test_it_is_raised_once_so_that_a_checkpoint_can_be_written():
    with StopSignals() as signals:
        with pytest.raises(StopRequest), signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
        with signals.held():
            pass


def test_handlers_are_put_back():
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    assert {signum: signal.getsignal(signum) for signum in before} == before


@pytest.mark.parametrize(("first", "second", "code"), [("SIGINT", "SIGINT", 130), ("SIGINT", "SIGTERM", 143)])
def test_a_second_signal_ends_at_once(first, second, code):
    program = f"""
import os, signal
from seqlab.train.signals import StopSignals
with StopSignals() as signals:
    with signals.held():
        os.kill(os.getpid(), signal.{first})
        os.kill(os.getpid(), signal.{second})
        print("still here")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ""


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
