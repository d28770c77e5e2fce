"""When to stop a training that never gets worse."""

import logging
import sys
from collections import deque

__all__ = ["ConvergenceMonitor"]

_log = logging.getLogger(__name__)
# A sum of many logarithms may fall by this much through rounding alone.
ROUNDING = 2.0**-26


class ConvergenceMonitor:
    """The log-likelihood (or its bound) before each update of `fit`, and when to stop.

    For other criteria override `converged` in a subclass and assign an instance to the model's `monitor_`.

    Args:
        tol: stop when an iteration gains less than this.
        n_iter: stop after this many iterations.
        verbose: print iteration, log-likelihood and gain to standard error.

    Attributes:
        history: log-likelihoods before each update.
        iter: iterations done.
    """

    _template = "{iter:>10d} {log_prob:>16.8f} {delta:>+16.8f}"

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol, self.n_iter, self.verbose = tol, n_iter, verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def __repr__(self) -> str:
        shown = dict(vars(self), history=list(self.history))
        return f"{type(self).__name__}({', '.join(f'{name}={shown[name]!r}' for name in sorted(shown))})"

    def _reset(self) -> None:
        self.iter = 0
        self.history.clear()

    def report(self, log_prob: float) -> None:
        """Record one iteration; a loss is logged as a warning."""
        delta = log_prob - self.history[-1] if self.history else float("nan")
        if self.verbose:
            print(self._template.format(iter=self.iter + 1, log_prob=log_prob, delta=delta), file=sys.stderr)
        if delta < -ROUNDING:
            _log.warning("iteration %d lost %g: log-likelihood %g", self.iter + 1, -delta, log_prob)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether the last gain is below `tol` or the iterations are used up."""
        gained_little = len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol
        return self.iter >= self.n_iter or gained_little
