"""Every example runs to its end; the numbers are asserted inside. Those that can draw do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PICTURES = {
    "cheapest_way.py": {"cheapest-way.png"},
    "healthy_sick_dog.py": {"dog-hmm.png", "dog-trellis.png"},
    "markov_dog_and_coin.py": {"dog-chain.png"},
}


def run(path, folder, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, path, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=240,
        encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "degenerate" not in done.stderr


def test_there_are_examples():
    names = {path.name for path in EXAMPLES}
    assert {"crf_by_hand.py", *PICTURES} <= names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.parametrize("name", PICTURES)
def test_example_draws(name, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    run(ROOT / "examples" / name, tmp_path, "--draw", tmp_path / "drawn")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == PICTURES[name]
