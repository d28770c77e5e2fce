"""A recipe that is no tagger, small enough to train in a blink, and ways to run it."""

import io
import random
from pathlib import Path

import pytest
import torch

from seqlab.train.config import LoopConfig
from seqlab.train.loop import run
from seqlab.train.progress import Progress
from seqlab.train.report import Data, Part, Report, Results, Row
from seqlab.train.signals import StopSignals


class ToyRecipe:
    """Linear regression with dropout on 40 points; `on_step` is called with the number of each step."""

    name = "toy"
    score = "r"

    def __init__(self, loop=None, seed=3, on_step=None, data="points"):
        self.loop = loop or LoopConfig(
            epochs=3, lr=0.05, log_every=2, eval_every=4, checkpoint_s=1000, threads=1, device="cpu"
        )
        self.seed, self.on_step, self.data_sha256, self.steps = seed, on_step, data, 0

    def prepare(self):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 3, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5])
        return ["40 points"]

    def build(self):
        return torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(3, 1))

    def batches(self, epoch):
        order = list(range(40))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return [order[start : start + 8] for start in range(0, 40, 8)]

    def loss(self, model, batch):
        if self.on_step:
            self.on_step(self.steps)
        self.steps += 1
        return ((model(self.x[batch])[:, 0] - self.y[batch]) ** 2).mean()

    def validate(self, model):
        if self.on_step:
            self.on_step("validate")
        with torch.no_grad():
            return {"r": -float(((model(self.x)[:, 0] - self.y) ** 2).mean())}

    def model_card(self):
        return {"recipe": "toy"}

    def test(self, model):
        return {"test/r": self.validate(model)["r"]}

    def report(self, model, metrics, figures):
        values = [metric.value for metric in metrics if metric.name == "test/r"]
        part = Part(40, 40)
        return Report(
            "toy", [], Data("points", "made up", "0", {"train": part}), [],
            Results("train", ["r"], [Row("linear", "model", values)]),
        )  # fmt: skip


class Runner:
    """Runs a recipe in a folder; `log` is what it printed."""

    def __init__(self, recipe_type):
        self.recipe_type, self.log = recipe_type, ""

    def __call__(self, out: Path, **options):
        out.mkdir(exist_ok=True)
        recipe = self.recipe_type(**options)
        stream = io.StringIO()
        try:
            with StopSignals() as signals:
                progress = Progress(out / "progress.json", stream=stream, shown=("train/loss",))
                run(recipe, seed=recipe.seed, out=out, progress=progress, signals=signals)
        finally:
            self.log = stream.getvalue()
        return recipe


@pytest.fixture
def toy():
    """Call with a folder to train the toy recipe there."""
    return Runner(ToyRecipe)


@pytest.fixture
def toy_recipe():
    return ToyRecipe
