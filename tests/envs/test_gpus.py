"""Requests and locks, on made-up devices: no NVIDIA hardware is needed for either."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs.errors import RunError
from envs.gpus import GPU, GPURequest, parse_request, take
from seqlab.errors import ConfigError


def made_up(index: int, used_bytes: int = 0) -> GPU:
    return GPU(index, f"GPU-{index:04d}", "made-up", 80 << 30, used_bytes, (9, 0))


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("none", GPURequest()),
        ("auto", GPURequest(count=1, optional=True)),
        ("2", GPURequest(count=2)),
        ("0,3", GPURequest(indices=(0, 3))),
        ("1,", GPURequest(indices=(1,))),
        ("1,1", GPURequest(indices=(1,))),
        ("0", GPURequest()),
    ],
)
def test_requests(text: str, request_: GPURequest) -> None:
    assert parse_request(text) == request_


@pytest.mark.parametrize("text", ["", ",", "-1", "all", "1;2", "0, 1", "²", "$(id)"])
def test_malformed_requests_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--gpu takes"):
        parse_request(text)


def test_a_taken_gpu_is_not_given_twice(tmp_path: Path) -> None:
    gpus = [made_up(0), made_up(1)]
    first = take(GPURequest(count=1), gpus, tmp_path)
    second = take(GPURequest(count=1), gpus, tmp_path)
    assert first is not None
    assert second is not None
    assert {first[0][0].index, second[0][0].index} == {0, 1}
    assert take(GPURequest(count=1), gpus, tmp_path) is None
    os.close(first[1][0])
    assert take(GPURequest(count=1), gpus, tmp_path) is not None


def test_all_or_none(tmp_path: Path) -> None:
    gpus = [made_up(0), made_up(1)]
    held = take(GPURequest(indices=(1,)), gpus, tmp_path)
    assert held is not None
    assert take(GPURequest(count=2), gpus, tmp_path) is None
    free = take(GPURequest(indices=(0,)), gpus, tmp_path)
    assert free is not None, "a failed request for two must give the one back"


def test_auto_prefers_the_emptier_and_leaves_busy_ones(tmp_path: Path) -> None:
    found = take(GPURequest(count=1), [made_up(0, 500 << 20), made_up(1, 4 << 30), made_up(2, 10 << 20)], tmp_path)
    assert found is not None
    assert found[0][0].index == 2
    assert take(GPURequest(count=1), [made_up(1, 4 << 30)], tmp_path) is None


def test_auto_on_a_machine_without_gpus_is_the_cpu(tmp_path: Path) -> None:
    assert take(parse_request("auto"), [], tmp_path) == ([], [])


@pytest.mark.parametrize("text", ["1", "3", "0,", "0,5"])
def test_what_the_machine_can_never_give_is_an_error(tmp_path: Path, text: str) -> None:
    gpus = [] if text in ("1", "0,") else [made_up(0), made_up(1)]
    with pytest.raises(RunError, match="this machine has"):
        take(parse_request(text), gpus, tmp_path)


def test_the_lock_frees_itself_when_its_holder_is_killed(tmp_path: Path, root: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from envs.gpus import *\n"
        "gpu = GPU(0, 'GPU-0000', 'made-up', 1 << 30, 0, (9, 0))\n"
        f"held = take(GPURequest(count=1), [gpu], Path({str(tmp_path)!r}))\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert take(GPURequest(count=1), [made_up(0)], tmp_path) is None
        holder.kill()
    assert take(GPURequest(count=1), [made_up(0)], tmp_path) is not None


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "GPU-0000.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        take(GPURequest(count=1), [made_up(0)], tmp_path)
    assert not victim.exists()
