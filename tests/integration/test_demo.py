"""`./inv demo` as a person meets it: interrupted, killed, run again. A tiny tagger, everything else real."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.runs import Run
from tests.integration.test_blog import copy_site, node
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("blog")]

__all__ = ["node"]  # the fixture: node's environment of the checkout

SMALL = ["data.train_lines=300", "data.valid_lines=60", "data.test_lines=60", "loop.epochs=12", "loop.min_steps=0"]
SMALL += ["loop.checkpoint_s=0.2", "loop.eval_every=20"]


class Desk:
    """A place to run the demo from: its own runs, blog and tmux server."""

    def __init__(self, root: Path, folder: Path, socket: str, site: Path) -> None:
        self.root, self.folder, self.site = root, folder, site
        self.run = Run(folder / "runs" / "demo")
        self.environment = {
            **os.environ,
            "SEQLAB_RUNS": str(folder / "runs"),
            "SEQLAB_BLOG_FOLDER": str(site),
            "SEQLAB_TMUX_SOCKET": socket,
        }

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(self.root / "envs" / "cli.py"), *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def call(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def page(self, output: str) -> Path:
        found = re.search(r"^open +(.*)$", output, re.MULTILINE)
        assert found, output
        return Path(found[1])


@pytest.fixture
def desk(root: Path, tmp_path: Path, tmux_socket: str, node: object) -> Iterator[Desk]:
    site = copy_site(root, tmp_path / "我的 blog")
    desk = Desk(root, tmp_path, tmux_socket, site)
    yield desk
    if desk.run.is_alive():
        desk.call("train.stop", "demo", "--now")


def small() -> list[str]:
    return [word for setting in SMALL for word in ("--set", setting)]


def test_the_demo_survives_ctrl_c_and_kills_and_makes_the_same_post_twice(desk: Desk) -> None:
    follower = desk.start("demo", *small())
    wait_for(lambda: desk.run.progress().get("phase") == "train")
    follower.send_signal(signal.SIGINT)
    said, _ = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert "./inv train.attach demo" in said
    assert "Traceback" not in said
    assert desk.run.state() == "running"

    follower = desk.start("demo")
    time.sleep(1.0)
    follower.kill()
    follower.communicate()
    assert desk.run.state() in ("running", "finished")

    code, first = desk.call("demo")
    assert code == 0, first
    assert desk.run.state() == "finished"
    page = desk.page(first)
    html = page.read_text(encoding="utf-8")
    assert 'class="katex' in html
    assert "katex-error" not in html
    post = next((desk.site / "source" / "_posts").glob("*.md"))
    written = post.read_bytes()

    code, second = desk.call("demo")
    assert code == 0, second
    assert "finished" in second
    assert post.read_bytes() == written
    assert desk.page(second) == page
    assert len(desk.run.record()["attempts"]) == 1


def test_a_killed_training_is_resumed_to_the_same_figures(desk: Desk) -> None:
    follower = desk.start("demo", *small())
    wait_for(lambda: list(desk.run.folder.glob("checkpoints/*.safetensors")))
    follower.kill()
    follower.communicate()
    child = json.loads((desk.run.folder / "heartbeat.json").read_text())["child_pid"]
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: desk.run.state() == "failed")
    assert "SIGKILL" in desk.run.record()["message"]

    code, output = desk.call("demo")
    assert code == 0, output
    assert "resumed" in output
    resumed = (desk.run.folder / "metrics.jsonl").read_bytes(), (desk.run.folder / "report.json").read_bytes()

    code, output = desk.call("demo", "--fresh", *small())
    assert code == 0, output
    fresh = (desk.run.folder / "metrics.jsonl").read_bytes(), (desk.run.folder / "report.json").read_bytes()
    assert resumed == fresh, "the same seed must give the same figures, interrupted or not"


def test_what_is_missing_is_said_before_anything_starts(desk: Desk) -> None:
    desk.environment["PATH"] = str(desk.folder)
    code, output = desk.call("demo")
    assert code == 1
    assert "apt-get install tmux" in output
    assert "Traceback" not in output
    assert not desk.run.folder.exists()
