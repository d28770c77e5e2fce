"""The tagger as a recipe for the loop of `seqlab.train`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from seqlab.data.batches import length_batches
from seqlab.data.conllu import load_conllu
from seqlab.data.corpus import PARTS, Corpus
from seqlab.data.python_source import load_standard_library
from seqlab.metrics import Scores, evaluate
from seqlab.plots import can_draw
from seqlab.recipes.tagger.baseline import HmmBaseline, tuned_baseline
from seqlab.recipes.tagger.config import TaggerConfig
from seqlab.recipes.tagger.inference import Tagger
from seqlab.recipes.tagger.model import Batch, TaggerModel, collate
from seqlab.recipes.tagger.report import Tested, make_report
from seqlab.recipes.tagger.vocabulary import Vocabulary
from seqlab.train.recipe import Metric, Recipe
from seqlab.train.report import Report

__all__ = ["TaggerRecipe"]


class Encoded(NamedTuple):
    """A part of the data as numbers, and its tags by name."""

    chars: list[list[int]]
    tags: list[list[int]]
    named: list[list[str]]


class TaggerRecipe:
    """Data, model, loss, figures and report of the tagger. See `seqlab.train.recipe.Recipe`."""

    name = "tagger"
    score = "f1"

    def __init__(self, config: TaggerConfig, *, data: Path | None, seed: int) -> None:
        self.config, self.loop, self.seed = config, config.loop, seed
        self._data = data
        self._tested: dict[str, Tested] = {}
        self._smoothing = 0.0

    def prepare(self) -> Sequence[str]:
        """Read, split and encode the data.

        Raises:
            DataError: naming file and line.
        """
        limits = {part: getattr(self.config.data, f"{part}_lines") for part in PARTS}
        if self._data is None:
            self.corpus: Corpus = load_standard_library(max_length=self.config.data.max_length, limits=limits)
        else:
            self.corpus = load_conllu(self._data, max_length=self.config.data.max_length, limits=limits)
        self.data_sha256 = self.corpus.sha256()
        self.labels = ["O", *(f"{prefix}-{label}" for label in self.corpus.labels() for prefix in "BIES")]
        self.vocabulary = Vocabulary.of((line.text for line in self.corpus.parts["train"]), self.config.data.min_count)
        self._parts = {part: self._encode(part) for part in PARTS}
        notes = [*self.corpus.notes, f"{len(self.labels)} tags, {len(self.vocabulary)} characters"]
        if not can_draw():
            notes.append("no figures: pip install matplotlib to have them")
        return notes

    def build(self) -> torch.nn.Module:
        """A fresh model."""
        return TaggerModel(len(self.vocabulary), self.labels, self.config.encoder)

    def batches(self, epoch: int) -> Sequence[Batch]:
        """Batches of lines of like length, in an order that follows from seed and epoch."""
        part = self._parts["train"]
        lengths = [len(row) for row in part.chars]
        numbers = length_batches(lengths, budget=self.config.batch_chars, seed=f"{self.seed}/{epoch}")
        return [collate([part.chars[n] for n in batch], [part.tags[n] for n in batch]) for batch in numbers]

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Negative log-likelihood per character."""
        assert isinstance(model, TaggerModel)
        device = next(model.parameters()).device
        return model.loss(batch._replace(chars=batch.chars.to(device), tags=batch.tags.to(device)))

    def validate(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Precision, recall, F1 and accuracy on the validation part."""
        return _figures(self._evaluate(model, "valid").scores)

    def model_card(self) -> dict[str, Any]:
        """model.json: labels, characters and sizes."""
        return {
            "recipe": self.name,
            "labels": self.labels,
            "characters": self.vocabulary.characters,
            "encoder": asdict(self.config.encoder),
        }

    def test(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Choose the baseline's smoothing on the validation part, then test both models."""
        train, valid, test = (self._parts[part] for part in PARTS)
        baseline: HmmBaseline
        baseline, _ = tuned_baseline(
            self.config.hmm.smoothing,
            self.labels,
            len(self.vocabulary),
            (train.chars, train.tags),
            (valid.chars, valid.named),
        )
        self._smoothing = baseline.smoothing
        predicted = baseline.predict(test.chars)
        self._tested = {
            "baseline": Tested(predicted, evaluate(test.named, predicted)),
            "model": self._evaluate(model, "test"),
        }
        found = {f"test/{name}": value for name, value in _figures(self._tested["model"].scores).items()}
        found |= {f"baseline/{name}": value for name, value in _figures(self._tested["baseline"].scores).items()}
        return found

    def report(self, model: torch.nn.Module, metrics: Sequence[Metric], figures: Path) -> Report:
        """Figures and text; called after `test`."""
        assert isinstance(model, TaggerModel)
        return make_report(
            corpus=self.corpus,
            sha256=self.data_sha256,
            labels=self.labels,
            model=model,
            metrics=metrics,
            tested=self._tested,
            smoothing=self._smoothing,
            figures=figures,
        )

    def _evaluate(self, model: torch.nn.Module, part: str) -> Tested:
        assert isinstance(model, TaggerModel)
        tagger = Tagger(model, self.labels, self.vocabulary)
        predicted = tagger.predict_encoded(self._parts[part].chars)
        return Tested(predicted, evaluate(self._parts[part].named, predicted))

    def _encode(self, part: str) -> Encoded:
        numbers = {label: number for number, label in enumerate(self.labels)}
        lines = self.corpus.parts[part]
        named = [line.tags for line in lines]
        chars = [self.vocabulary.encode(line.text) for line in lines]
        return Encoded(chars, [[numbers[tag] for tag in tags] for tags in named], named)


if TYPE_CHECKING:
    _fits: type[Recipe[Batch]] = TaggerRecipe


def _figures(scores: Scores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in ("precision", "recall", "f1", "accuracy")}
