"""The loop that trains a network with a CRF on top: AdamW, warm-up and decay, averaged weights, early stopping."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqlab.errors import ConfigError, SeqlabError
from seqlab.tagging.settings import check_types

__all__ = ["LoopSettings", "one_thread", "train"]

WARM_UP_STEPS = 20
CLIP = 5.0


@dataclass(frozen=True)
class LoopSettings:
    """How a network is trained.

    Attributes:
        epochs: passes over the sentences.
        batch_sentences: sentences in a batch.
        learning_rate: at its height; it rises over the first steps and falls to 0 on a line.
        weight_decay: of AdamW (Loshchilov and Hutter 2019).
        average: share of the old in the running average of the weights, which are what is kept (Polyak and
            Juditsky 1992); 0 keeps the last weights.
        patience: with validation data, stop after this many epochs without a better score.
    """

    epochs: int = 40
    batch_sentences: int = 32
    learning_rate: float = 6e-3
    weight_decay: float = 0.01
    average: float = 0.98
    patience: int = 10

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "batch_sentences", "patience"):
            if not getattr(self, name) >= 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ConfigError(
                f"learning_rate must be > 0 and weight_decay ≥ 0, got {self.learning_rate} and {self.weight_decay}"
            )
        if not 0 <= self.average < 1:
            raise ConfigError(f"average must lie in 0 … 1, 1 excluded, got {self.average!r}")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, then on as many as before.

    A product of matrices is rounded differently when it is shared out among threads. Networks as small as a tagger's
    lose little: two threads make their training some 10 % faster.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(
    network: nn.Module,
    loss_of: Callable[[Sequence[int]], Tensor],
    num_sentences: int,
    settings: LoopSettings,
    *,
    groups: Sequence[dict[str, object]] | None = None,
    validate: Callable[[], float] | None = None,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train `network` in place; it ends in evaluation mode with the averaged weights.

    Order and dropout are drawn from torch's global generator.

    Args:
        network: whose parameters are trained.
        loss_of: returns the loss of the sentences with these numbers.
        num_sentences: how many there are.
        settings: of the loop.
        groups: parameters with learning rates of their own, as torch's optimisers take them; None: all alike.
        validate: returns a score, higher is better, of the network as it is; the best epoch's weights are kept.
        report: told the number of each epoch and its mean loss.

    Raises:
        SeqlabError: the loss is no longer a finite number.
    """
    optimizer = torch.optim.AdamW(
        groups or network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.99)
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    per_epoch = math.ceil(num_sentences / settings.batch_sentences)
    average = copy.deepcopy(network.state_dict())
    best, best_score, best_epoch = average, -math.inf, 0
    step = 0
    for epoch in range(1, settings.epochs + 1):
        network.train()
        order, total = torch.randperm(num_sentences).tolist(), 0.0
        for begin in range(0, num_sentences, settings.batch_sentences):
            share = min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / (settings.epochs * per_epoch))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            loss = loss_of(order[begin : begin + settings.batch_sentences])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            step += 1
            total += loss.item()
            _blend(average, network, min(settings.average, step / (step + 10)))
        if not math.isfinite(total):
            raise SeqlabError(f"the loss became {total} in epoch {epoch}: lower learning_rate")
        if report is not None:
            report(epoch, total / per_epoch)
        if validate is None:
            continue
        score = _score_of(network, average, validate)
        if score > best_score:
            best, best_score, best_epoch = copy.deepcopy(average), score, epoch
        elif epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(average if validate is None else best)
    network.eval()


@torch.no_grad()
def _blend(average: dict[str, Tensor], network: nn.Module, kept: float) -> None:
    """average ← kept · average + (1 − kept) · weights; the first steps count for more."""
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            average[name].lerp_(values, 1 - kept)
        else:
            average[name].copy_(values)


def _score_of(network: nn.Module, average: dict[str, Tensor], validate: Callable[[], float]) -> float:
    """Score the averaged weights, then put the network's own back."""
    own = copy.deepcopy(network.state_dict())
    network.load_state_dict(average)
    network.eval()
    score = validate()
    network.load_state_dict(own)
    return score
