"""`python -m seqlab.train`: exit codes, files and messages as docs/run-folder.md promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqlab.train.command import main

ROOT = Path(__file__).parents[3]
TINY = ["encoder.hidden=4", "encoder.embedding=3", "encoder.bigram_buckets=8", "loop.epochs=6", "loop.eval_every=15",
        "loop.log_every=3", "loop.threads=1", "loop.min_steps=0", "batch_chars=40", "data.min_count=1"]  # fmt: skip
SAME = ("model.safetensors", "model.json", "metrics.jsonl", "report.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Made-up sentences in the manner of Chinese: every word fixes its class."""
    words = [
        pair.split("/")
        for pair in ["我/PRON", "你们/PRON", "爱/VERB", "喜欢/VERB", "北京/PROPN", "蝴蝶/NOUN", "书/NOUN"]
    ]
    lines = []
    for number in range(150):
        for place in range(3 + number % 3):
            form, upos = words[(number * 5 + place * (1 + number % 4) + number // 7) % len(words)]
            lines.append(f"{place + 1}\t{form}\t_\t{upos}\t_\t_\t0\troot\t_\tSpaceAfter=No")
        lines.append(f"{place + 2}\t{number}\t_\tNUM\t_\t_\t0\troot\t_\tSpaceAfter=No\n")
    path = tmp_path_factory.mktemp("data") / "made up.conllu"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def arguments(out, data, *more):
    sets = [word for pair in [*TINY, *more] for word in ("--set", pair)]
    return ["tagger", "--out", str(out), "--data", str(data), *sets]


def contents(folder):
    return {name: (folder / name).read_bytes() for name in SAME}


def start(out, data, *more):
    """The command as its own process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "seqlab.train", *arguments(out, data, *more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_step(out, step, process):
    """Wait until the run's records show `step`."""
    path = out / "metrics.jsonl"
    for _ in range(6000):
        lines = path.read_text().splitlines()[:-1] if path.exists() else []
        if lines and json.loads(lines[-1])["step"] >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(arguments(out, data)) == 0
    return out


def test_all_files_of_the_contract(whole):
    names = {path.name for path in whole.iterdir()}
    assert names == {"config.json", "progress.json", "metrics.jsonl", "tb", "checkpoints", "model.safetensors",
                     "model.json", "report.json", "figures"}  # fmt: skip
    report = json.loads((whole / "report.json").read_text())
    assert set(report) == {"schema", "title", "summary", "data", "method", "results", "figures", "examples"}
    assert report["schema"] == 1
    assert report["results"]["columns"] == ["precision", "recall", "f1", "accuracy"]
    assert [row["role"] for row in report["results"]["rows"]] == ["baseline", "model"]
    assert all(0 <= value <= 1 for row in report["results"]["rows"] for value in row["values"])
    assert {figure["name"] for figure in report["figures"]} == {"loss", "transitions", "per_class_f1"}
    for figure in report["figures"]:
        for suffix in ("light.svg", "dark.svg", "csv"):
            assert (whole / "figures" / f"{figure['name']}.{suffix}").stat().st_size > 0
    for example in report["examples"]:
        assert len(example["text"]) == len(example["gold"]) == len(example["predicted"])
    for part in ("train", "valid", "test"):
        assert report["data"]["parts"][part]["sequences"] > 0


def test_no_path_of_this_machine_is_in_the_report(whole, data):
    text = (whole / "report.json").read_text() + (whole / "model.json").read_text()
    assert str(data.parent) not in text
    assert str(ROOT) not in text


def test_the_same_seed_gives_the_same_bytes(tmp_path, data, whole):
    assert main(arguments(tmp_path / "again", data)) == 0
    assert contents(tmp_path / "again") == contents(whole)
    for path in (whole / "figures").iterdir():
        assert (tmp_path / "again/figures" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_stopped_and_killed_processes_resume_to_the_same_bytes(tmp_path, data, whole):
    out = tmp_path / "run"
    for step, signum, code in ((6, signal.SIGTERM, 143), (20, signal.SIGKILL, -9), (33, signal.SIGINT, 130)):
        process = start(out, data, "loop.checkpoint_s=0.05")
        wait_for_step(out, step, process)
        process.send_signal(signum)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == code, output
        assert "Traceback" not in output
        assert not (out / "report.json").exists()
    process = start(out, data, "loop.checkpoint_s=0.05")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "resuming after step" in output
    assert "finished" in output
    assert contents(out) == contents(whole)


def refused(capsys, words, *, code=2):
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for word in words:
        assert word in captured.err
    return code


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--set", "encoder.hiden=3"], ["encoder.hiden", "did you mean encoder.hidden?"]),
        (["--set", "encoder.hidden=x"], ["encoder.hidden", "int", "'x'"]),
        (["--data", "/no/such/file"], ["/no/such/file", "does not exist"]),
        (["--data", "/"], ["is not a file"]),
        (["--seed", "-1"], ["seed"]),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_leaves_no_folder(tmp_path, capsys, change, words):
    out = tmp_path / "run"
    assert main(["tagger", "--out", str(out), *change]) == refused(capsys, words)
    assert not out.exists()


def test_an_unknown_recipe_names_the_nearest(tmp_path, capsys):
    assert main(["taggr", "--out", str(tmp_path / "run")]) == refused(capsys, ["'taggr'", "did you mean tagger?"])


def test_recipe_and_folder_must_be_given(capsys):
    assert main([]) == refused(capsys, ["no recipe given", "tagger"])
    assert main(["tagger"]) == refused(capsys, ["--out"])


def test_bad_data_ends_with_2_and_names_the_line(tmp_path, capsys):
    bad = tmp_path / "bad.conllu"
    bad.write_text("1\tx\n")
    assert main(["tagger", "--out", str(tmp_path / "run"), "--data", str(bad)]) == refused(capsys, [f"{bad}:1: "])


def test_another_configuration_is_refused(whole, data, capsys):
    assert main(arguments(whole, data, "encoder.hidden=5")) == refused(
        capsys, ["another configuration", "encoder.hidden: there 4, now 5", "--config"]
    )


def test_a_saved_configuration_is_taken_as_it_is(tmp_path, whole, capsys):
    assert main(["--config", str(whole / "config.json"), "--out", str(whole)]) == 0
    assert main(["--config", str(whole / "config.json"), "--set", "loop.lr=1", "--out", "x"]) == refused(
        capsys, ["--config already holds all settings"]
    )
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert main(["--config", str(broken), "--out", "x"]) == refused(capsys, ["is not JSON"])
    saved = json.loads((whole / "config.json").read_text())
    broken.write_text(json.dumps({**saved, "sed": 1}))
    assert main(["--config", str(broken), "--out", "x"]) == refused(capsys, ["'sed'", "did you mean seed?"])


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["tagger", "--out", str(tmp_path / "file/run")]) == refused(capsys, ["cannot write to", "--out"])


def test_a_full_disk_ends_with_1(tmp_path, data, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("seqlab.train.checkpoint.replace_file", full)
    assert main(arguments(tmp_path / "run", data)) == refused(capsys, ["no room left on the disk"], code=1)
    monkeypatch.undo()
    assert main(arguments(tmp_path / "run", data)) == 0


def test_damaged_checkpoints_end_with_2(tmp_path, data, capsys):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints/step-00000003.safetensors").write_bytes(b"nonsense")
    assert main(arguments(out, data)) == refused(capsys, ["no usable checkpoint", "resuming cannot work", "start anew"])


def test_changed_data_ends_with_2(tmp_path, data, capsys, monkeypatch):
    out, copy = tmp_path / "run", tmp_path / "copy.conllu"
    copy.write_bytes(data.read_bytes())
    assert main(arguments(out, copy)) == 0
    copy.write_bytes(data.read_bytes().replace("书".encode(), "茶".encode()))
    assert main(arguments(out, copy)) == refused(capsys, ["the data changed", "resuming cannot work"])


def test_an_unexpected_error_is_one_line(tmp_path, data, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("first line\nsecond line" + " and more" * 100)

    monkeypatch.setattr("seqlab.recipes.build", broken)
    assert main(arguments(tmp_path / "run", data)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: RuntimeError: first line second line")
    assert error.endswith("add --debug for the stack trace\n")
    assert error.count("\n") == 1
    assert len(error) < 400
    assert main([*arguments(tmp_path / "run", data), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["1_0", "１２", "x"])
def test_a_seed_is_plain_digits(capsys, seed):
    with pytest.raises(SystemExit) as ended:
        main(["tagger", "--seed", seed])
    assert ended.value.code == 2
    assert "--seed" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_the_list_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "seqlab.train", "tagger", "--list"], env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_list_of_an_unknown_recipe(capsys):
    assert main(["taggr", "--list"]) == refused(capsys, ["did you mean tagger?"])


def test_debug_shows_the_stack(tmp_path, capsys):
    assert main(["tagger", "--out", str(tmp_path / "run"), "--set", "x=1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_list_shows_recipes_and_settings(capsys):
    assert main(["--list"]) == 0
    assert "tagger" in capsys.readouterr().out
    assert main(["tagger", "--list"]) == 0
    output = capsys.readouterr().out
    assert "encoder.hidden" in output
    assert "cosine|constant" in output
    assert "default 1e-06,0.0001," in output
