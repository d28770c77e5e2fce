"""What a recipe provides and the loop uses. The loop knows nothing else about any recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from seqlab.train.config import LoopConfig
from seqlab.train.report import Report

__all__ = ["Metric", "Recipe"]

Batch = TypeVar("Batch")


class Metric(NamedTuple):
    """One line of metrics.jsonl."""

    step: int
    name: str
    value: float


class Recipe(Protocol[Batch]):
    """One kind of model on one kind of data.

    The loop calls the methods in the order in which they stand here. Anything random must come from torch's
    global generator (whose state is in the checkpoints) or follow from the seed and the arguments alone;
    otherwise a resumed run would not give the same bits.
    """

    name: str
    loop: LoopConfig

    def prepare(self) -> Sequence[str]:
        """Read the data; return lines for the log.

        Raises:
            DataError: naming file and line.
        """
        ...

    @property
    def data_sha256(self) -> str:
        """Digest of exactly the data in use: a resume with other data is refused."""
        ...

    def build(self) -> torch.nn.Module:
        """A model with fresh weights."""
        ...

    def batches(self, epoch: int) -> Sequence[Batch]:
        """The batches of one epoch in order: a function of seed and epoch, equally many in each epoch."""
        ...

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The scalar to minimise on one batch, with the model in training mode."""
        ...

    def validate(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Figures on the validation part, by short names (`f1`); it draws no random numbers."""
        ...

    @property
    def score(self) -> str:
        """Which of `validate`'s figures chooses the best weights; higher is better."""
        ...

    def model_card(self) -> dict[str, Any]:
        """model.json: what it takes, besides the weights, to rebuild the model."""
        ...

    def test(self, model: torch.nn.Module) -> Mapping[str, float]:
        """Figures on the test part for the best model and its baselines, by names such as `test/f1`."""
        ...

    def report(self, model: torch.nn.Module, metrics: Sequence[Metric], figures: Path) -> Report:
        """Draw the figures into the folder `figures` and return the report; called after `test`."""
        ...
