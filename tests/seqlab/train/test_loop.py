"""The loop: files, resuming, stopping, early stopping; with a recipe that has nothing to do with tagging."""

import json
import math
import os
import signal
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from seqlab.errors import CheckpointError, DataError, SeqlabError
from seqlab.train.config import LoopConfig
from seqlab.train.loop import learning_rate
from seqlab.train.signals import StopRequest

LOOP = LoopConfig(epochs=3, lr=0.05, log_every=2, eval_every=4, checkpoint_s=1000, threads=1, device="cpu")
RESULTS = ("model.safetensors", "metrics.jsonl", "report.json", "model.json")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


class Crash(BaseException):
    """Ends a run as SIGKILL would: without any chance to write."""


def at(number, action):
    def on_step(step):
        if step == number:
            action()

    return on_step


def crash():
    raise Crash


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_leaves_the_files_of_the_contract(tmp_path, toy):
    toy(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {*RESULTS, "progress.json", "tb", "checkpoints", "figures"}
    progress = json.loads((tmp_path / "run/progress.json").read_text())
    assert progress["phase"] == "done"
    assert progress["step"] == progress["total_steps"] == 15
    assert progress["epoch"] == progress["epochs"] == 3
    assert progress["eta_s"] == 0
    assert set(progress["metrics"]) == {"train/loss", "train/lr", "valid/r", "test/r"}
    assert any((tmp_path / "run/tb").iterdir())


def test_metrics_are_lines_of_step_name_and_value(tmp_path, toy):
    toy(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(set(line) == {"step", "name", "value"} for line in lines)
    assert [line["step"] for line in lines if line["name"] == "valid/r"] == [4, 8, 12, 15]
    assert [line["step"] for line in lines if line["name"] == "train/loss"] == list(range(2, 15, 2))


def test_it_learns_and_keeps_the_best_weights(tmp_path, toy):
    recipe = toy(tmp_path / "run", loop=replace(LOOP, epochs=40))
    weights = load_file(tmp_path / "run/model.safetensors")
    model = recipe.build()
    model.load_state_dict(weights)
    model.eval()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = max(line["value"] for line in lines if line["name"] == "valid/r")
    assert recipe.validate(model)["r"] == best > -1


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path, toy):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        toy(tmp_path / name, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["model.safetensors"] != contents(tmp_path / "c")["model.safetensors"]


@pytest.mark.parametrize("checkpoint_s", [0, 1000])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 7, 14])
def test_stopped_by_sigterm_and_resumed_gives_the_same_bytes(tmp_path, toy, step, checkpoint_s):
    loop = replace(LOOP, checkpoint_s=checkpoint_s)
    toy(tmp_path / "whole", loop=loop)
    with pytest.raises(StopRequest) as stopped:
        toy(tmp_path / "run", loop=loop, on_step=at(step, terminate))
    assert stopped.value.exit_code == 143
    assert (tmp_path / f"run/checkpoints/step-{step + 1:08d}.safetensors").exists()
    toy(tmp_path / "run", loop=loop)
    assert f"resuming after step {step + 1} of 15" in toy.log
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 14])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path, toy, step):
    toy(tmp_path / "whole")
    loop = replace(LOOP, checkpoint_s=0)
    with pytest.raises(Crash):
        toy(tmp_path / "run", loop=loop, on_step=at(step, crash))
    toy(tmp_path / "run", loop=loop)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_killed_far_from_a_checkpoint_drops_the_later_metrics(tmp_path, toy):
    toy(tmp_path / "whole")
    with pytest.raises(StopRequest):
        toy(tmp_path / "run", on_step=at(2, terminate))
    with pytest.raises(Crash):
        toy(tmp_path / "run", on_step=at(9, crash))
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "na')
    toy(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_stopped_during_an_evaluation_does_it_again_after_resuming(tmp_path, toy):
    toy(tmp_path / "whole")
    with pytest.raises(StopRequest):
        toy(tmp_path / "run", on_step=at("validate", terminate))
    toy(tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_finished_run_started_again_writes_the_same_report(tmp_path, toy):
    toy(tmp_path / "run")
    before = contents(tmp_path / "run")
    (tmp_path / "run/report.json").unlink()
    recipe = toy(tmp_path / "run")
    assert recipe.steps == 0
    assert contents(tmp_path / "run") == before


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, toy):
    loop = replace(LOOP, checkpoint_s=0)
    toy(tmp_path / "whole", loop=loop)
    with pytest.raises(Crash):
        toy(tmp_path / "run", loop=loop, on_step=at(9, crash))
    newest = tmp_path / "run/checkpoints/step-00000009.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    toy(tmp_path / "run", loop=loop)
    assert "step-00000009.safetensors is damaged" in toy.log
    assert "resuming after step 8" in toy.log
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_only_damaged_checkpoints_end_the_run_with_advice(tmp_path, toy):
    with pytest.raises(Crash):
        toy(tmp_path / "run", loop=replace(LOOP, checkpoint_s=0), on_step=at(3, crash))
    for path in (tmp_path / "run/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"resuming cannot work.*another name, or remove .*checkpoints"):
        toy(tmp_path / "run")


def test_other_data_is_refused(tmp_path, toy):
    with pytest.raises(StopRequest):
        toy(tmp_path / "run", on_step=at(2, terminate))
    with pytest.raises(DataError, match=r"the data changed.*resuming cannot work.*another name"):
        toy(tmp_path / "run", data="other points")


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, toy):
    with pytest.raises(SeqlabError, match=r"lower --set loop\.lr"):
        toy(tmp_path / "run", loop=replace(LOOP, lr=1e30, clip=0.0, epochs=30))


def test_patience_stops_early(tmp_path, toy):
    recipe = toy(tmp_path / "run", loop=replace(LOOP, lr=1e-12, patience=2, epochs=50, eval_every=1))
    assert recipe.steps < 100


def test_max_steps_ends_within_an_epoch(tmp_path, toy):
    assert toy(tmp_path / "run", loop=replace(LOOP, max_steps=7)).steps == 7


def test_min_steps_adds_epochs(tmp_path, toy):
    assert toy(tmp_path / "run", loop=replace(LOOP, epochs=1, min_steps=11)).steps == 15
    assert "1 epochs are 5 steps; training 3 epochs to reach loop.min_steps=11" in toy.log


def test_enough_epochs_are_not_remarked_upon(tmp_path, toy):
    toy(tmp_path / "run", loop=replace(LOOP, epochs=3, min_steps=11))
    assert "min_steps" not in toy.log


def test_torn_metrics_do_not_keep_a_run_from_resuming(tmp_path, toy):
    with pytest.raises(StopRequest):
        toy(tmp_path / "run", on_step=at(9, terminate))
    path = tmp_path / "run/metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0" * (len(lines[1]) - 1) + b"\n" + b"".join(lines[2:]))
    toy(tmp_path / "run")
    assert "1 damaged line(s) dropped" in toy.log
    assert "resuming after step 10" in toy.log
    again = path.read_bytes().splitlines(keepends=True)
    assert again[: len(lines) - 1] == [lines[0], *lines[2:]]
    assert json.loads(again[-1])["name"] == "test/r"


def test_two_checkpoints_are_kept(tmp_path, toy):
    toy(tmp_path / "run", loop=replace(LOOP, checkpoint_s=0))
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-00000014.safetensors", "step-00000015.safetensors"]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rate_rises_then_follows_the_schedule(schedule):
    config = LoopConfig(lr=1.0, warmup=0.1, schedule=schedule)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == 1.0 if schedule == "constant" else 0.01 < rates[-1] < 0.03
    assert math.isclose(learning_rate(LoopConfig(lr=1.0, warmup=0.0), 0, 1), 1.0)


def test_the_number_of_threads_is_the_settings(tmp_path, toy):
    toy(tmp_path / "run")
    assert torch.get_num_threads() == 1
