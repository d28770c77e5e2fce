"""The forward recursion, once with probabilities and once with logarithms.

The backward recursion is the forward recursion of the reversed chain: reverse each row, transpose the
transitions, swap start and end. So both directions run through the same code, stacked in a dimension D
(1: forward only; 2: forward and backward at once).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SMALLEST_SCALE", "Messages", "log_messages", "scaled_messages", "scaled_suits"]

# float64 loses what falls below exp(-708); SAFE_RANGE leaves ample room above that.
SAFE_RANGE = 300.0
MIXING_STEPS = 4
SMALLEST_SCALE = math.exp(-SAFE_RANGE / MIXING_STEPS)


class Messages(NamedTuple):
    """What the steps before t say about the state at t; linear or logarithmic, as the function that made it.

    Attributes:
        incoming: (T, D, B, K), all prefixes that lead into state j at step t, without its emission.
        prefix: (T, D, B, K), the same with the emission: α_t(j).
        log_scale: (T, D, B), what `prefix`, or its logarithm, lacks to log α_t.
    """

    incoming: Tensor
    prefix: Tensor
    log_scale: Tensor


def log_messages(emissions: Tensor, transitions: Tensor, start: Tensor) -> Messages:
    """Run the forward recursion in log space, exact for every score, −inf included.

        α_1(j) = start[j] + emissions[1, j]
        α_t(j) = log Σ_i exp(α_{t-1}(i) + transitions[i, j]) + emissions[t, j]

    The largest α_t(j) is taken off each step, so that rounding doesn't grow with the sums.

    Args:
        emissions: (T, D, B, K), float64, T ≥ 1.
        transitions: (D, K, K), float64.
        start: (D, K), float64.
    """
    incoming, prefix = torch.empty_like(emissions), torch.empty_like(emissions)
    into = transitions.transpose(1, 2).unsqueeze(1)  # (D, 1, K to, K from)
    incoming[0], log_scale = start.unsqueeze(1), emissions.new_empty(emissions.shape[:3])
    for t, emitted in enumerate(emissions):
        if t > 0:
            torch.logsumexp(prefix[t - 1].unsqueeze(2) + into, dim=3, out=incoming[t])  # (D, B, K)
        torch.add(incoming[t], emitted, out=prefix[t])
        largest = prefix[t].amax(dim=2)
        log_scale[t] = largest.masked_fill_(largest == float("-inf"), 0.0)
        prefix[t] -= largest.unsqueeze(2)
    return Messages(incoming, prefix, log_scale.cumsum_(dim=0))


def scaled_messages(emissions: Tensor, transitions: Tensor, start: Tensor) -> Messages | None:
    """Run the forward recursion on probabilities scaled to a sum of 1 (Rabiner 1989, equations 19, 20, 91).

        α̂_t(j) = (Σ_i α̂_{t-1}(i) · exp transitions[i, j]) · exp emissions[t, j] / c_t

    One matrix product a step. Call it where `scaled_suits`.

    Args:
        emissions: (T, D, B, K), float64, T ≥ 1, a finite score in each row of K.
        transitions: (D, K, K), float64, one finite score at least.
        start: (D, K), float64, one finite score at least.

    Returns:
        The messages, or None if some c_t is so small that paths may have been lost.
    """
    largest = emissions.amax(dim=3, keepdim=True)  # (T, D, B, 1)
    top, first = transitions.amax(dim=(1, 2), keepdim=True), start.amax(dim=1, keepdim=True)
    emit, move = (emissions - largest).exp_(), (transitions - top).exp_()  # at most 1

    incoming, prefix, scale = torch.empty_like(emit), torch.empty_like(emit), torch.empty_like(largest)
    incoming[0] = (start - first).exp_().unsqueeze(1)
    alpha = prefix[0]
    for t, (message, now, emitted, c) in enumerate(zip(incoming, prefix, emit, scale, strict=True)):
        if t > 0:
            torch.bmm(alpha, move, out=message)  # (D, B, K)
        alpha = torch.mul(message, emitted, out=now)
        alpha.div_(torch.sum(alpha, dim=2, keepdim=True, out=c))
    if not bool(scale.min() > SMALLEST_SCALE):
        return None

    log_scale = scale.log_().add_(largest).squeeze(3)  # (T, D, B), one step's share
    log_scale[0] += first
    log_scale[1:] += top.squeeze(2)
    return Messages(incoming, prefix, log_scale.cumsum_(dim=0))


def scaled_suits(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> bool:
    """Tell whether `scaled_messages` loses nothing that the result could show.

    A state whose α̂ falls below exp(-708) is lost with all paths through it. That is harmless where any other
    state could take over those paths at a cost of at most `SAFE_RANGE`:

    * in one step, where every transition is within that range: a step's emission is the same wherever a path
      comes from, so it does not count;
    * in n = 2, 3 or 4 steps, where transitions within 1/n of the range lead from everywhere to everywhere
      (n = 2 for BIOES), less what the emissions of a step can differ by.

    Near a row's end fewer than n steps remain; then a tiny scale c_t gives the loss away, and
    `scaled_messages` returns None.

    Args:
        emissions: (T, B, K), float64, padding replaced.
        transitions: (K, K), float64.
        start: (K,), float64.
        end: (K,), float64.
    """
    top = transitions.max()
    finite_somewhere = (emissions.amax(dim=2), top, start.max(), end.max())
    if not all(bool(scores.isfinite().all()) for scores in finite_somewhere):
        return False
    spread = float(emissions.max() - emissions.min())
    for steps in range(1, MIXING_STEPS + 1):
        cost = SAFE_RANGE / steps - (spread if steps > 1 else 0.0)
        cheap = (transitions >= top - cost).double()  # (K, K)
        if cost >= 0 and bool(torch.linalg.matrix_power(cheap, steps).all()):
            return True
    return False
