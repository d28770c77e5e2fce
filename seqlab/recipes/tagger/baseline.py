"""The baseline: a hidden Markov model with the tags as states, counted from the training part.

It sees the same characters, the same <unk> and the same tags as the tagger, and its smoothing is chosen on the
same validation part.
"""

from collections.abc import Sequence

import numpy as np

from seqlab.hmm import CategoricalHMM
from seqlab.metrics import evaluate

__all__ = ["HmmBaseline", "tuned_baseline"]

Encoded = Sequence[Sequence[int]]


class HmmBaseline:
    """A `CategoricalHMM` over K tags and V characters; `smoothing` is the pseudo-count in use."""

    def __init__(self, labels: Sequence[str], num_chars: int) -> None:
        self.labels = list(labels)
        self.num_chars = num_chars
        self.smoothing = 0.0
        self.model = CategoricalHMM(n_components=len(self.labels), n_features=num_chars)

    def fit(self, chars: Encoded, tags: Encoded, smoothing: float) -> "HmmBaseline":
        """Count starts, transitions and emissions, adding `smoothing` to each count."""
        self.smoothing = smoothing
        states = np.concatenate([np.asarray(row) for row in tags])
        self.model.fit_supervised(_column(chars), states, _lengths(chars), smoothing=smoothing)
        return self

    def predict(self, chars: Encoded) -> list[list[str]]:
        """The most probable tag path of each sequence (Viterbi)."""
        states = self.model.predict(_column(chars), _lengths(chars))
        rows = np.split(np.asarray(states), np.cumsum(_lengths(chars))[:-1])
        return [[self.labels[state] for state in row] for row in rows]


def tuned_baseline(
    candidates: Sequence[float],
    labels: Sequence[str],
    num_chars: int,
    train: tuple[Encoded, Encoded],
    valid: tuple[Encoded, Sequence[Sequence[str]]],
) -> tuple[HmmBaseline, dict[float, float]]:
    """The baseline with the smoothing of the best validation F1, and the F1 of each candidate.

    `train` is characters and tag numbers, `valid` characters and tags by name.
    """
    found = {}
    for smoothing in candidates:
        baseline = HmmBaseline(labels, num_chars).fit(*train, smoothing)
        found[smoothing] = evaluate(valid[1], baseline.predict(valid[0])).f1
    best = max(found, key=lambda smoothing: found[smoothing])
    return HmmBaseline(labels, num_chars).fit(*train, best), found


def _column(chars: Encoded) -> np.ndarray:
    """All sequences after one another, (characters, 1) int64, as `hmmlearn` takes them."""
    return np.concatenate([np.asarray(row, dtype=np.int64) for row in chars])[:, None]


def _lengths(chars: Encoded) -> list[int]:
    return [len(row) for row in chars]
