"""A Viterbi run laid open: every δ, every back-pointer, and the walk in words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import ShapeError

__all__ = ["ViterbiWalk", "explain_viterbi"]


class ViterbiWalk(NamedTuple):
    """What the recursion of `seqlab.chain.viterbi` wrote down for one row; `print` tells it in words.

    Attributes:
        states: the K names.
        steps: the T names of the steps, for instance what was observed.
        deltas: (T, K), the score of the best path that ends in a state at a step.
        back_pointers: (T, K), int, the state before on that path; −1 at the first step.
        path: (T,), int, the best path.
        score: its score, end scores included; −inf if every path is forbidden.
        probabilities: whether exp of a score is a probability, and is shown.
    """

    states: list[str]
    steps: list[str]
    deltas: NDArray[np.float64]
    back_pointers: NDArray[np.int64]
    path: NDArray[np.int64]
    score: float
    probabilities: bool = False

    def __str__(self) -> str:
        lines = ["Forward: for each state the best way into it, δ."]
        named = self.steps != _names(None, len(self.steps), "steps", 1)
        for t, (name, row, pointers) in enumerate(zip(self.steps, self.deltas, self.back_pointers, strict=True)):
            lines.append(f"step {t + 1} ({name})" if named else f"step {t + 1}")
            for state, delta, before in zip(self.states, row.tolist(), pointers.tolist(), strict=True):
                origin = "at the start" if before < 0 else f"from {self.states[before]}"
                lines.append(f"  {state}: {self._number(delta)} {origin}")
        last = self.states[self.path[-1]] if self.path.size else "nothing"
        lines.append(f"Back: the best end is {last}, score {self._number(self.score)}.")
        for t in range(len(self.path) - 1, 0, -1):
            here, before = (self.states[state] for state in (self.path[t], self.path[t - 1]))
            lines.append(f"  step {t + 1}: {here} was reached from {before}")
        names = " → ".join(self.states[state] for state in self.path)
        lines.append(f"The path: {names}")
        return "\n".join(lines)

    def _number(self, score: float) -> str:
        """Show a score and, where it is the logarithm of a probability, that too."""
        return f"{score:.4f} (probability {math.exp(score):.4g})" if self.probabilities else f"{score:.4f}"


def explain_viterbi(
    emissions: ArrayLike,
    transitions: ArrayLike,
    start: ArrayLike,
    end: ArrayLike | None = None,
    *,
    states: Sequence[str] | None = None,
    steps: Sequence[str] | None = None,
    probabilities: bool | None = None,
    last_wins: bool = False,
) -> ViterbiWalk:
    """Run Viterbi's algorithm on one row and keep all it writes down (Rabiner 1989, equations 32 to 35).

    The scores may be tensors on any device, those of `CRF.transition_scores()` for instance.

    Args:
        emissions: (T, K) scores; for a hidden Markov model log P(observation | state).
        transitions: (K, K) scores, from row to column.
        start: (K,) scores.
        end: (K,) scores; None: zeros.
        states: names of the K states; None: their numbers.
        steps: names of the T steps; None: their numbers from 1.
        probabilities: whether the scores are logarithms of probabilities, so that exp of them may be shown. None:
            they are if start and every row of transitions sum to 1 as such, within 1e-6, and no score is above 0; a
            CRF's, or densities above 1, are not.
        last_wins: among equally good states before, take the last, as hmmlearn does, not the first.

    Raises:
        ShapeError: a shape or a number of names is wrong, or a score is NaN or +inf.
    """
    scores = [_numbers(part) for part in (emissions, transitions, start)]
    T, K = scores[0].shape if scores[0].ndim == 2 else (0, 0)
    scores.append(np.zeros(K) if end is None else _numbers(end))
    wanted = {"emissions": (T, K), "transitions": (K, K), "start": (K,), "end": (K,)}
    for (name, shape), part in zip(wanted.items(), scores, strict=True):
        if part.shape != shape or not part.size:
            raise ShapeError(f"{name} must have shape {shape or '(T, K)'} and not be empty, got {part.shape}")
        if not (part < np.inf).all():
            raise ShapeError(f"{name} must hold no NaN and no +inf")
    emitted, moves, first, last = scores
    named = _names(states, K, "states", 0), _names(steps, T, "steps", 1)
    deltas, pointers = np.empty((T, K)), np.full((T, K), -1, dtype=np.int64)
    deltas[0] = first + emitted[0]
    for t in range(1, T):
        joint = deltas[t - 1][:, None] + moves  # (K from, K to)
        pointers[t] = K - 1 - joint[::-1].argmax(axis=0) if last_wins else joint.argmax(axis=0)
        deltas[t] = joint.max(axis=0) + emitted[t]
    path = np.empty(T, dtype=np.int64)
    path[-1] = np.argmax(deltas[-1] + last)
    for t in range(T - 1, 0, -1):
        path[t - 1] = pointers[t, path[t]]
    score = float(deltas[-1, path[-1]] + last[path[-1]])
    shown = _are_probabilities(*scores) if probabilities is None else probabilities
    return ViterbiWalk(*named, deltas, pointers, path, score, shown)


def _numbers(part: ArrayLike) -> NDArray[np.float64]:
    if isinstance(part, torch.Tensor):
        return part.detach().to("cpu", torch.float64).numpy()
    return np.asarray(part, dtype=np.float64)


def _are_probabilities(*scores: NDArray[np.float64]) -> bool:
    """Tell whether emissions, transitions, start and end can be logarithms of probabilities."""
    if any(part.max() > 1e-6 for part in scores):
        return False
    _, transitions, start, _ = scores
    return bool(np.allclose(np.exp(np.vstack([transitions, start])).sum(axis=1), 1.0, rtol=0.0, atol=1e-6))


def _names(names: Sequence[str] | None, count: int, what: str, first: int) -> list[str]:
    found = [str(first + number) for number in range(count)] if names is None else [str(name) for name in names]
    if len(found) != count:
        raise ShapeError(f"{what} must be {count} names, got {len(found)}")
    return found
