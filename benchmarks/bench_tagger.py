"""The hand-feature tagger against python-crfsuite (L-BFGS, in C): training and tagging, side by side in one run.

    python -m benchmarks.bench_tagger [--data FOLDER] [--repeats 5] [--threads 2] [--c2 0.1]

UD Chinese GSDSimp, trained on its dev part, scored on its test part: word segmentation (F1 of words) and parts of
speech (accuracy). Both sides get the same feature lists, the same penalty and the same stopping rule with their own
defaults (ours stops nearer to the optimum), once with weights for all pairs of feature and tag, once for those that
were seen. Training runs from feature lists to a model that can tag, tagging from feature lists to tags. Runs of the
two alternate. Exit code 3: the peer or the data is missing.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.side_by_side import hardware, medians
from seqlab.data.conllu import read_conllu
from seqlab.metrics import evaluate
from seqlab.tagging import Tagger, bmes_tags, character_features, word_features

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"
Rows = Sequence[Sequence[Any]]


class Task(NamedTuple):
    """Described tokens and tags to train on, the same to test on, and the score of predicted tags."""

    name: str
    sentences: Rows
    tags: Sequence[Sequence[str]]
    unseen: Rows
    gold: Sequence[Sequence[str]]
    score: Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], float]


def tasks(folder: Path) -> list[Task]:
    """Read both tasks."""
    parts = []
    for part in ("dev", "test"):
        lines = read_conllu(folder / "ud_zh_gsdsimp" / f"zh_gsdsimp-ud-{part}.conllu")
        words = [[line.text[start:end] for start, end, _ in line.entities] for line in lines]
        parts.append((words, [[label for *_, label in line.entities] for line in lines]))
    (words, labels), (unseen, gold) = parts
    segmentation = [
        ([character_features("".join(sentence)) for sentence in part], [bmes_tags(sentence) for sentence in part])
        for part in (words, unseen)
    ]
    described = [[word_features(sentence) for sentence in part] for part in (words, unseen)]
    return [
        Task("segmentation", *segmentation[0], *segmentation[1], lambda right, found: evaluate(right, found).f1),
        Task("pos", described[0], labels, described[1], gold, accuracy),
    ]


def accuracy(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Return the share of right tags."""
    pairs = [right == tag for row, tags in zip(gold, found, strict=True) for right, tag in zip(row, tags, strict=True)]
    return sum(pairs) / len(pairs)


def compare(task: Task, everything: bool, c2: float, repeats: int, folder: Path) -> None:
    """Print a line for training and one for tagging."""
    pycrfsuite = importlib.import_module("pycrfsuite")
    path = str(folder / "peer.crfsuite")
    iterations = {"seqlab": 0, "peer": 0}

    def train() -> Tagger:
        tagger = Tagger(c2=c2, all_possible_states=everything, all_possible_transitions=everything)
        tagger.fit(task.sentences, task.tags)
        iterations["seqlab"] = tagger.iterations
        return tagger

    def train_peer() -> None:
        trainer = pycrfsuite.Trainer(verbose=False)
        names = ("feature.possible_states", "feature.possible_transitions")
        trainer.set_params({"c1": 0.0, "c2": c2} | dict.fromkeys(names, everything))
        for sentence, row in zip(task.sentences, task.tags, strict=True):
            trainer.append(sentence, row)
        trainer.train(path)
        iterations["peer"] = trainer.logparser.last_iteration["num"]

    begin = time.perf_counter()
    tagger = train()
    first = time.perf_counter() - begin
    own, other = medians([train, train_peer], repeats)
    peer = pycrfsuite.Tagger()
    peer.open(path)

    def tag() -> list[list[str]]:
        return tagger.predict(task.unseen)

    def tag_peer() -> list[list[str]]:
        return [peer.tag(sentence) for sentence in task.unseen]

    scores = [task.score(task.gold, found) for found in (tag(), tag_peer())]
    own_tag, other_tag = medians([tag, tag_peer], 3 * repeats)
    pairs = "all pairs" if everything else "seen pairs"
    for work, ours, theirs, more in (
        ("training", own, other, f"steps {iterations['seqlab']} / {iterations['peer']}, first call {first:.1f} s"),
        ("tagging", own_tag, other_tag, f"test score {scores[0]:.4f} / {scores[1]:.4f}"),
    ):
        print(f"{task.name:13}{pairs:12}{work:10}{ours:10.1f} {theirs:10.1f} {theirs / ours:6.2f}x  {more}", flush=True)


def main() -> int:
    """Run both tasks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEQLAB_DATA") or DEFAULT_DATA))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--c2", type=float, default=0.1)
    options = parser.parse_args()
    if importlib.util.find_spec("pycrfsuite") is None:
        print(f"no python-crfsuite: {sys.executable} -m pip install python-crfsuite", file=sys.stderr)
        return 3
    if not (options.data / "ud_zh_gsdsimp").is_dir():
        print(f"no ud_zh_gsdsimp in {options.data}: set --data or SEQLAB_DATA", file=sys.stderr)
        return 3
    torch.set_num_threads(options.threads)
    print(hardware())
    print(
        f"c2 {options.c2}; medians in ms; ratio = python-crfsuite / seqlab; pairs of figures: seqlab / python-crfsuite"
    )
    print(f"{'task':13}{'weights':12}{'work':10}{'seqlab':>10} {'peer':>10} {'ratio':>7}")
    for task in tasks(options.data):
        for everything in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                compare(task, everything, options.c2, options.repeats, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
