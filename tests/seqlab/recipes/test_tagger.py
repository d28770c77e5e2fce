"""The tagger on one package of the standard library: it learns, reports, and can be loaded again."""

import json
import platform
import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from seqlab.data.corpus import Corpus
from seqlab.errors import CheckpointError, DataError
from seqlab.metrics import evaluate
from seqlab.recipes.tagger import load
from seqlab.recipes.tagger import report as report_module
from seqlab.recipes.tagger.baseline import HmmBaseline, tuned_baseline
from seqlab.recipes.tagger.config import EncoderConfig
from seqlab.recipes.tagger.model import TaggerModel, collate
from seqlab.recipes.tagger.vocabulary import PAD, UNKNOWN, Vocabulary
from seqlab.train.command import main
from seqlab.train.report import Part

LABELS = ["O", "B-x", "I-x", "E-x", "S-x"]
SETTINGS = [
    "data.train_lines=2000", "data.valid_lines=200", "data.test_lines=400", "encoder.hidden=32",
    "encoder.embedding=24", "encoder.bigram_buckets=512", "encoder.dropout=0", "loop.epochs=4", "loop.lr=0.02",
    "loop.eval_every=60", "loop.threads=1", "loop.min_steps=0", "batch_chars=800",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on one package of the standard library."""
    root = Path(sysconfig.get_path("stdlib")) / "asyncio"
    out = tmp_path_factory.mktemp("runs") / "run"
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqlab.data.python_source.sysconfig.get_path", lambda _: str(root))
        assert main(["tagger", "--out", str(out), *sets]) == 0
    return out


def test_it_beats_the_baseline_on_held_out_lines(trained):
    rows = json.loads((trained / "report.json").read_text())["results"]["rows"]
    values = {row["role"]: row["values"] for row in rows}
    assert values["model"][2] > values["baseline"][2] + 0.03
    assert values["baseline"][2] > 0.7


def test_the_report_tells_what_was_done(trained):
    report = json.loads((trained / "report.json").read_text())
    assert [row["model"] for row in report["results"]["rows"]] == ["Supervised HMM", "BiLSTM-CRF"]
    assert [method["name"] for method in report["method"]] == ["Linear-chain CRF on a BiLSTM", "Supervised HMM"]
    assert "\\log Z(x)" in report["method"][0]["latex"]
    version = platform.python_version()
    assert report["title"] == f"BiLSTM\u2011CRF against a supervised HMM: Python {version} standard library"
    assert len(report["summary"]) == 2
    assert any("repeated ones left out" in line for line in report["data"]["notes"])
    assert "more training text" not in report["summary"][1]
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert report["results"]["rows"][1]["values"][2] == next(m["value"] for m in metrics if m["name"] == "test/f1")


def test_loaded_again_it_tags_lines_as_in_the_report(trained):
    tagger = load(trained)
    examples = json.loads((trained / "report.json").read_text())["examples"]
    assert tagger.predict([example["text"] for example in examples]) == [example["predicted"] for example in examples]


def test_predict_takes_any_line(trained):
    tagger = load(trained)
    lines = ["", "x", "变量 = 𝄞", " " * 5, "y" * 300]
    found = tagger.predict(lines)
    assert [len(tags) for tags in found] == [len(line) for line in lines]
    assert tagger.predict([]) == []
    with pytest.raises(DataError, match="line 1 holds a line break"):
        tagger.predict(["a", "a\nb"])


def test_predictions_are_well_formed_bioes(trained):
    from seqlab.crf import bioes_constraints

    tagger = load(trained)
    allowed = bioes_constraints(tagger.labels)
    numbers = {label: number for number, label in enumerate(tagger.labels)}
    for tags in tagger.predict(["x ='(+\"# def", "))) return 'a", "0x = = #"]):
        path = [numbers[tag] for tag in tags]
        assert allowed.start[path[0]]
        assert allowed.end[path[-1]]
        assert all(allowed.pairs[pair] for pair in pairwise(path))


@pytest.mark.parametrize("break_it", ["missing", "json", "weights", "recipe", "sizes"])
def test_a_broken_model_is_refused(tmp_path, trained, break_it):
    card = json.loads((trained / "model.json").read_text())
    weights = (trained / "model.safetensors").read_bytes()
    if break_it == "weights":
        weights = weights[:-3]
    if break_it == "recipe":
        card["recipe"] = "other"
    if break_it == "sizes":
        card["encoder"]["hidden"] = 5
    if break_it != "missing":
        (tmp_path / "model.json").write_text("{" if break_it == "json" else json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError):
        load(tmp_path)


def test_losing_to_the_baseline_comes_with_advice():
    corpus = Corpus("x", "x", {}, ["a note"])
    worse, better = evaluate([["S-a", "O"]], [["O", "O"]]), evaluate([["S-a", "O"]], [["S-a", "O"]])
    parts = {"train": Part(1, 2), "test": Part(1, 2)}
    assert "more training text" in report_module._summary(corpus, parts, better, worse)[1]
    assert "more training text" not in report_module._summary(corpus, parts, worse, better)[1]


def test_many_tags_are_drawn_class_by_class():
    labels = ["O", *(f"{prefix}-{name}" for name in ("x", "y-z") for prefix in "BIES")]
    numbers = {label: number for number, label in enumerate(labels)}
    values = [[float(10 * row + column) for column in range(9)] for row in range(9)]
    values[numbers["S-x"]][numbers["S-y-z"]] = None
    names, drawn = report_module._by_class(labels, values)
    assert names == ["O", "x", "y-z"]
    assert drawn[0][0] == 0.0
    assert drawn[0][1] == (1 + 4) / 2
    assert drawn[1][0] == (30 + 40) / 2
    assert drawn[1][2] == (35 + 38 + 45) / 3


def test_padding_changes_no_score():
    torch.manual_seed(0)
    model = TaggerModel(9, LABELS, EncoderConfig(embedding=4, hidden=5, layers=2, bigram_buckets=7)).eval()
    rows = [[2, 3, 4, 5, 6], [7, 8, 2], [3]]
    together = model(collate(rows).chars, collate(rows).lengths)
    for number, row in enumerate(rows):
        alone = model(collate([row]).chars, collate([row]).lengths)
        torch.testing.assert_close(together[number, : len(row)], alone[0])
    losses = [model.loss(collate([row], [[0] * len(row)])) * len(row) for row in rows]
    whole = model.loss(collate(rows, [[0] * len(row) for row in rows])) * sum(map(len, rows))
    torch.testing.assert_close(sum(losses), whole)


def test_character_dropout_hides_characters_but_not_padding():
    model = TaggerModel(9, LABELS, EncoderConfig(embedding=4, hidden=5, char_dropout=0.999999, dropout=0.0)).train()
    batch = collate([[2, 3, 4], [5]])
    unknown = collate([[UNKNOWN] * 3, [UNKNOWN]])
    torch.testing.assert_close(model(batch.chars, batch.lengths), model.eval()(unknown.chars, unknown.lengths))


def test_vocabulary_orders_by_count_and_maps_the_rest_to_unknown():
    vocabulary = Vocabulary.of(["aab", "abc"], min_count=2)
    assert vocabulary.characters == ["a", "b"]
    assert vocabulary.encode("abc") == [2, 3, UNKNOWN]
    assert len(vocabulary) == 4
    assert collate([[2, 3], [2]]).chars.tolist() == [[2, 3], [2, PAD]]


def test_the_baseline_chooses_smoothing_on_the_validation_part():
    chars = [[2, 2, 3], [3, 2], [2, 3]] * 5
    tags = [[0, 0, 4], [4, 0], [0, 4]] * 5
    valid_chars, valid_tags = [[2, 3, 4]], [["O", "S-x", "O"]]
    candidates = (1e-6, 100.0)
    best, found = tuned_baseline(candidates, LABELS, 5, (chars, tags), (valid_chars, valid_tags))
    scores = {
        smoothing: evaluate(valid_tags, HmmBaseline(LABELS, 5).fit(chars, tags, smoothing).predict(valid_chars)).f1
        for smoothing in candidates
    }
    assert found == scores
    assert best.smoothing == max(scores, key=lambda smoothing: scores[smoothing])
