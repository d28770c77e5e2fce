"""The training loop: plain torch, the same for every recipe.

Numerics depend on recipe, settings, seed and data alone. When a checkpoint is written changes nothing, and a run
that was stopped and resumed ends with the same bits as one that was not, on the CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors.torch import save

from seqlab.errors import DataError
from seqlab.files import replace_file, replace_json
from seqlab.train.checkpoint import Checkpoint, load_newest, save_checkpoint
from seqlab.train.config import LoopConfig
from seqlab.train.progress import Progress
from seqlab.train.recipe import Recipe
from seqlab.train.records import Records
from seqlab.train.report import write_report
from seqlab.train.signals import StopRequest, StopSignals
from seqlab.train.state import pack, pack_weights, unpack

__all__ = ["Trainer", "learning_rate", "run"]


@dataclass
class Position:
    """Where training stands; everything besides tensors that a checkpoint must bring back.

    The place in the data follows from `step`, as every epoch has equally many batches.
    """

    step: int = 0
    evaluated: int = 0  # the step of the last evaluation
    best_step: int = 0
    best_score: float | None = None
    stale: int = 0  # evaluations since the best one
    loss_sum: float = 0.0  # since the last line of train/loss
    loss_count: int = 0
    finished: bool = False


def run(recipe: Recipe[Any], *, seed: int, out: Path, progress: Progress, signals: StopSignals) -> None:
    """Prepare, train, evaluate and report `recipe` in the folder `out`, resuming from a checkpoint there.

    Raises:
        DataError: the data cannot be used, or is not what the run began with.
        CheckpointError: there are checkpoints but none is whole, or they are of another model.
        StopRequest: a signal came; a checkpoint has been written if there was anything to keep.
        SeqlabError: the disk is full, or the loss is no longer finite.
    """
    torch.set_num_threads(recipe.loop.threads)
    progress.enter("prepare")
    for line in recipe.prepare():
        progress.say(line)
    trainer = Trainer(recipe, seed=seed, out=out, progress=progress, signals=signals)
    trainer.resume()
    try:
        trainer.train()
        trainer.finish()
    finally:
        trainer.records.close()
        trainer.say_notes()


class Trainer:
    """One run's model, optimiser, position and records."""

    records: Records

    def __init__(self, recipe: Recipe[Any], *, seed: int, out: Path, progress: Progress, signals: StopSignals) -> None:
        self.recipe, self.out, self.progress, self.signals = recipe, out, progress, signals
        self.config: LoopConfig = recipe.loop
        self.device = _device(self.config.device)
        torch.manual_seed(seed)
        self.model = recipe.build().to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay
        )
        self.position = Position()
        self.best = pack_weights(self.model)
        self.epoch, self.batches = 0, recipe.batches(0)
        self.steps_per_epoch = len(self.batches)
        epochs = max(self.config.epochs, math.ceil(self.config.min_steps / self.steps_per_epoch))
        total = epochs * self.steps_per_epoch
        self.total_steps = min(total, self.config.max_steps or total)
        self.checkpointed = monotonic()

    def resume(self) -> None:
        """Take up the newest whole checkpoint, if there is one, and open the records where it stood."""
        checkpoint, notes = load_newest(self.out / "checkpoints")
        offset = 0
        if checkpoint is not None:
            metadata = checkpoint.metadata
            if metadata["data_sha256"] != self.recipe.data_sha256:
                raise DataError(
                    f"the data changed since this run began (SHA-256 {metadata['data_sha256'][:12]}…, now "
                    f"{self.recipe.data_sha256[:12]}…), so resuming cannot work: bring the old data back, start anew "
                    f"with another name, or remove the folder {self.out / 'checkpoints'} to train from step 0"
                )
            self.best = unpack(checkpoint.tensors, self.model, self.optimizer)
            self.position = Position(**metadata["position"])
            offset = metadata["metrics_bytes"]
        self.records = Records(self.out, offset=offset, step=self.position.step)
        for note in notes:
            self.progress.say(note)
        self.say_notes()
        if checkpoint is not None:
            self.progress.say(f"resuming after step {self.position.step} of {self.total_steps}")

    def train(self) -> None:
        """Train to the last step or until the score stops rising; checkpoint now and then, and when stopped."""
        self._enter_train_phase()
        position, config = self.position, self.config
        self.model.train()
        try:
            while not position.finished:
                if self._evaluation_due():
                    self._evaluate()
                with self.signals.held():
                    if position.step >= self.total_steps or 0 < config.patience <= position.stale:
                        position.finished = True
                        self._checkpoint()
                    else:
                        self._step()
                        if monotonic() - self.checkpointed >= config.checkpoint_s:
                            self._checkpoint()
        except StopRequest as request:
            self._checkpoint()
            self.progress.say(f"{request.name}: stopped after step {position.step}, a checkpoint is written")
            raise

    def finish(self) -> None:
        """Keep the best weights, evaluate them on held-out data and write the report."""
        recipe, position = self.recipe, self.position
        self.model.load_state_dict(self.best)
        self.model.eval()
        replace_file(self.out / "model.safetensors", _safetensors(self.best))
        replace_json(self.out / "model.json", recipe.model_card())
        self.progress.say(f"best weights: step {position.best_step}, {recipe.score} {position.best_score:.4f}")
        self.progress.enter("evaluate")
        tested = recipe.test(self.model)
        self._record(tested)
        self.progress.say("  ".join(f"{name} {value:.4f}" for name, value in tested.items()))
        self.progress.enter("report")
        figures = self.out / "figures"
        figures.mkdir(exist_ok=True)
        write_report(self.out / "report.json", recipe.report(self.model, self.records.kept, figures))
        self.progress.step = position.step
        self.progress.enter("done")

    def say_notes(self) -> None:
        """Log what the records have noted since the last time."""
        while self.records.notes:
            self.progress.say(self.records.notes.pop(0))

    def _enter_train_phase(self) -> None:
        progress, position = self.progress, self.position
        progress.total_steps = self.total_steps
        progress.epochs = math.ceil(self.total_steps / self.steps_per_epoch)
        progress.step, progress.epoch = position.step, self._epoch_of(position.step) + 1
        progress.metrics.update({metric.name: metric.value for metric in self.records.kept})
        asked = self.config.epochs * self.steps_per_epoch
        if self.total_steps > asked:
            progress.say(
                f"{self.config.epochs} epochs are {asked} steps; training {progress.epochs} epochs to reach "
                f"loop.min_steps={self.config.min_steps}"
            )
        count = sum(parameter.numel() for parameter in self.model.parameters())
        progress.say(f"{count:,} parameters on {self.device}, {self.total_steps} steps")
        progress.enter("train")

    def _step(self) -> None:
        """One batch: forward, backward, update; then its line of metrics, when due."""
        position, config = self.position, self.config
        batch = self._batch(position.step)
        rate = learning_rate(config, position.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.recipe.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        position.step += 1
        position.loss_sum += loss.item()
        position.loss_count += 1
        if position.step % config.log_every == 0:
            self._record({"train/loss": position.loss_sum / position.loss_count, "train/lr": rate})
            position.loss_sum, position.loss_count = 0.0, 0
        self.progress.update(position.step, self._epoch_of(position.step - 1) + 1)

    def _evaluation_due(self) -> bool:
        position = self.position
        last = position.step == self.total_steps
        return position.evaluated < position.step and (last or position.step % self.config.eval_every == 0)

    def _evaluate(self) -> None:
        """Score the validation part; keep the weights if they are the best so far."""
        position = self.position
        self.model.eval()
        try:
            figures = self.recipe.validate(self.model)
        finally:
            self.model.train()
        with self.signals.held():
            self._record({f"valid/{name}": value for name, value in figures.items()})
            position.evaluated = position.step
            position.stale += 1
            if position.best_score is None or figures[self.recipe.score] > position.best_score:
                position.best_score, position.best_step = figures[self.recipe.score], position.step
                position.stale = 0
                self.best = pack_weights(self.model)

    def _record(self, values: Mapping[str, float]) -> None:
        position = self.position
        self.records.add(position.step, values)
        self.say_notes()
        self.progress.update(position.step, self._epoch_of(max(position.step - 1, 0)) + 1, values)

    def _checkpoint(self) -> None:
        metadata = {
            "position": asdict(self.position),
            "metrics_bytes": self.records.sync(),
            "data_sha256": self.recipe.data_sha256,
        }
        tensors = pack(self.model, self.optimizer, self.best)
        save_checkpoint(self.out / "checkpoints", self.position.step, Checkpoint(tensors, metadata))
        self.checkpointed = monotonic()

    def _batch(self, step: int) -> Any:
        epoch = self._epoch_of(step)
        if epoch != self.epoch:
            self.epoch, self.batches = epoch, self.recipe.batches(epoch)
        return self.batches[step % self.steps_per_epoch]

    def _epoch_of(self, step: int) -> int:
        return step // self.steps_per_epoch


def learning_rate(config: LoopConfig, step: int, total_steps: int) -> float:
    """The rate of step number `step` (from 0): a linear rise to `config.lr`, then the schedule down to 1 % of it."""
    warmup = round(config.warmup * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    left = 1 - (step - warmup) / max(1, total_steps - warmup)  # 1 after the warm-up, near 0 at the end
    if config.schedule == "constant":
        return config.lr
    shape = left if config.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
    return config.lr * (0.01 + 0.99 * shape)


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def _safetensors(weights: Mapping[str, torch.Tensor]) -> bytes:
    return save({name: tensor.cpu().contiguous().clone() for name, tensor in weights.items()})
