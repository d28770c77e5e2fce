"""Tagging lines with trained weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from seqlab.data.batches import length_batches
from seqlab.errors import CheckpointError, ConfigError, DataError
from seqlab.recipes.tagger.config import EncoderConfig
from seqlab.recipes.tagger.model import TaggerModel, collate
from seqlab.recipes.tagger.vocabulary import Vocabulary
from seqlab.train.config import from_dict, to_dict

__all__ = ["Tagger"]

_BATCH_CHARS = 8_000


class Tagger:
    """A model with its labels and vocabulary."""

    def __init__(self, model: TaggerModel, labels: Sequence[str], vocabulary: Vocabulary) -> None:
        self.model = model
        self.labels = list(labels)
        self.vocabulary = vocabulary

    @classmethod
    def load(cls, folder: Path) -> "Tagger":
        """Read model.safetensors and model.json.

        Raises:
            CheckpointError: the files are missing, damaged or of another recipe.
        """
        try:
            card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            if card.get("recipe") != "tagger":
                raise CheckpointError(f"{folder} holds a model of the recipe {card.get('recipe')!r}, not a tagger")
            vocabulary = Vocabulary(card["characters"])
            model = TaggerModel(len(vocabulary), card["labels"], from_dict(EncoderConfig, card["encoder"]))
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, KeyError, ConfigError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"no usable tagger in {folder}: {error}: train one with --out {folder}") from error
        return cls(model, card["labels"], vocabulary)

    def card(self) -> dict[str, Any]:
        """model.json."""
        return {
            "recipe": "tagger",
            "labels": self.labels,
            "characters": self.vocabulary.characters,
            "encoder": to_dict(self.model.config),
        }

    def predict(self, lines: Sequence[str]) -> list[list[str]]:
        """One tag for each character of each line; an empty line gives an empty list.

        Raises:
            DataError: a line holds a line break.
        """
        for number, line in enumerate(lines):
            if "\n" in line:
                raise DataError(f"line {number} holds a line break: split the text first")
        found: list[list[str]] = [[] for _ in lines]
        filled = [number for number, line in enumerate(lines) if line]
        for number, tags in zip(
            filled, self.predict_encoded([self.vocabulary.encode(lines[n]) for n in filled]), strict=True
        ):
            found[number] = tags
        return found

    def predict_encoded(self, chars: Sequence[Sequence[int]]) -> list[list[str]]:
        """The same for encoded lines, none of them empty."""
        was_training = self.model.training
        device = next(self.model.parameters()).device
        self.model.eval()
        found: list[list[str]] = [[] for _ in chars]
        for numbers in length_batches([len(row) for row in chars], budget=_BATCH_CHARS, seed=None):
            batch = collate([chars[number] for number in numbers])
            moved = batch._replace(chars=batch.chars.to(device), tags=batch.tags.to(device))
            with torch.no_grad():
                paths = self.model.decode(moved)
            for number, path in zip(numbers, paths, strict=True):
                found[number] = [self.labels[tag] for tag in path]
        self.model.train(was_training)
        return found
