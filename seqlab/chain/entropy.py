"""Entropy of a chain's distribution over paths, and the divergence between two chains.

Read backwards, the path is a Markov chain (see `seqlab.chain.sampling`): with α the forward messages,

    P(y_n = j)             ∝ exp(α_n(j) + end[j])
    P(y_t = i | y_{t+1} = j)  ∝ exp(α_t(i) + transitions[i, j])                      independent of what comes later

so by the chain rule (Cover and Thomas 2006, theorems 2.5.1 and 2.5.3)

    H(y)      = H(y_n)        + Σ_t Σ_j P(y_{t+1} = j) · H(y_t | y_{t+1} = j)
    KL(p ‖ q) = KL(p_n ‖ q_n) + Σ_t Σ_j P(y_{t+1} = j) · KL(p(y_t | y_{t+1} = j) ‖ q(y_t | y_{t+1} = j))
    P(y_t = i) = Σ_j P(y_t = i | y_{t+1} = j) · P(y_{t+1} = j)

Every term is at least 0. The textbook's log Z − E[s(y)] is the difference of two numbers that grow with the
scores; here nothing cancels, so that a chain with one path has entropy 0 exactly. In one distribution, too, the
most probable state's share is found from the others': with ε = Σ of the others, −(1 − ε) · log(1 − ε), which
keeps its digits where 1 − ε rounds to 1.

Hernando, Crespi and Cybenko (2005) give the same sum as a forward recursion of conditional entropies.

The work is that of one run forward and one run back, n·K² numbers, taken in blocks of steps. Without a gradient
only one block is kept; with one, autograd keeps all of them. The results can be differentiated any number of
times; where a score is −inf, its gradient is 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from seqlab.chain.doubles import Doubles
from seqlab.chain.inputs import result_dtype
from seqlab.chain.sampling import filtered
from seqlab.errors import ShapeError

__all__ = ["Scores", "entropy", "kl"]

NEVER = float("-inf")
LOWEST = -1e300  # below every score, and with a finite sum
BLOCK_NUMBERS = 2**18  # numbers in a block of (steps, B, K, K): two megabytes


class Scores(NamedTuple):
    """A chain's scores: emissions (T, B, K), transitions (K, K), start (K,) and end (K,)."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor


def entropy(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Return H(y) = −Σ_y P(y) log P(y) of every row, in nats.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        (B,), at least 0; 0 for an empty row and where every path is forbidden. Differentiable.

    Raises:
        ShapeError: a shape, a dtype or a length is wrong, or a score is NaN or +inf.
    """
    chain = Doubles.of(emissions, transitions, start, end, lengths)
    total = _nothing(chain)
    for weights, log_probabilities in _backwards(chain):
        total = total + (weights * _entropies(log_probabilities)).sum(dim=(0, 2))
    return total.to(result_dtype(emissions, transitions, start, end))


def kl(p: Scores | tuple[Tensor, ...], q: Scores | tuple[Tensor, ...], lengths: Tensor | None = None) -> Tensor:
    """Return KL(p ‖ q) = Σ_y p(y) log (p(y) / q(y)) of every row, in nats.

    Args:
        p: the chain whose paths are weighed: `Scores`, or a tuple in the same order.
        q: the chain it is compared with, over the same rows.
        lengths: (B,) or None, of both.

    Returns:
        (B,), at least 0; +inf, with gradient 0, where p allows a path that q forbids; 0 for an empty row and
        where p forbids every path. Differentiable with respect to both.

    Raises:
        ShapeError: a shape, a dtype or a length is wrong, the chains' shapes differ, or a score is NaN or +inf.
    """
    one, other = Doubles.of(*Scores(*p), lengths), Doubles.of(*Scores(*q), lengths)
    if one.emissions.shape != other.emissions.shape:
        shapes = tuple(one.emissions.shape), tuple(other.emissions.shape)
        raise ShapeError(f"p and q must have emissions of the same shape, got {shapes[0]} and {shapes[1]}")
    total = _nothing(one) + _nothing(other)
    for (weights, log_p), (_, log_q) in zip(_backwards(one), _backwards(other), strict=True):
        # Outside q's support its conditionals mean nothing; `_outside` has those rows.
        terms = torch.where(weights > 0, _divergences(log_p, log_q), 0.0)
        total = total + (weights * terms).sum(dim=(0, 2))
    total = total.masked_fill(_outside(one, other), float("inf"))
    return total.to(result_dtype(*p, *q))


def _nothing(chain: Doubles) -> Tensor:
    """Return (B,) zeros; of an empty batch they belong to its graph, so that `backward` runs."""
    return chain.emissions[:0].sum(dim=(0, 2))


def _backwards(chain: Doubles) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield P(y_{t+1} = j), (C, B, J), and log P(y_t = i | y_{t+1} = j), (C, B, J, K), in blocks of C steps.

    J is K, but for the first pair: there C = J = 1, the weight is 1 and the distribution is that of the last
    state. Weights are 0 where there is no step, and in rows without any path.
    """
    T, B, K = chain.emissions.shape  # time steps, batch, states
    if T == 0 or B == 0:
        return
    alpha = filtered(chain)
    last, rows = chain.lengths - 1, torch.arange(B, device=chain.lengths.device)
    final = alpha[last.clamp(min=0), rows] + chain.end  # (B, K)
    possible = (final.detach().amax(dim=1) > NEVER) & (last >= 0)
    log_final = _log_softmax(final.view(1, B, 1, K))
    yield possible.double().view(1, B, 1), log_final

    ends = (log_final.exp().view(B, K) * possible.unsqueeze(1), last)
    weight = alpha.new_zeros((B, K))  # P(y_{t+1} = j)
    size = max(1, BLOCK_NUMBERS // (B * K * K))
    for stop in range(T - 1, 0, -size):
        begin = max(0, stop - size)
        joint = alpha[begin:stop].unsqueeze(2) + chain.transitions.T  # (C, B, K after, K before)
        conditional = _log_softmax(joint)
        weights = _marginals(conditional.exp(), weight, ends, begin + 1)  # of steps begin … stop
        yield weights[1:], conditional
        weight = weights[0]


def _marginals(conditional: Tensor, weight: Tensor, ends: tuple[Tensor, Tensor], first: int) -> Tensor:
    """Walk back through a block: P(y_t = j) as (C + 1, B, K), the first of them for the block before.

    Args:
        conditional: (C, B, K after, K before).
        weight: (B, K), what the block after this one left: P at this block's last step, 0 in rows that end here.
        ends: (B, K) and (B,), the last state's distribution and its step.
        first: the step of conditional[0]'s later state.
    """
    marginals = []
    final, last = ends
    for c in range(conditional.size(0) - 1, -1, -1):
        weight = torch.where((last == first + c).unsqueeze(1), final, weight)
        marginals.append(weight)
        weight = torch.bmm(weight.unsqueeze(1), conditional[c]).squeeze(1)
    marginals.append(weight)
    return torch.stack(marginals[::-1])


def _log_softmax(scores: Tensor) -> Tensor:
    """Normalise the last dimension; −inf stays, and a row of nothing but −inf stays too. Gradients are finite."""
    forbidden = scores.detach() == NEVER
    return scores.masked_fill(forbidden, LOWEST).log_softmax(dim=-1).masked_fill(forbidden, NEVER)


def _entropies(logs: Tensor) -> Tensor:
    """Return −Σ P log P over the last dimension of log-probabilities."""
    logs = logs.masked_fill(logs.detach() == NEVER, LOWEST)
    likeliest = torch.zeros_like(logs, dtype=torch.bool)
    likeliest.scatter_(-1, logs.detach().argmax(dim=-1, keepdim=True), True)
    others = logs.exp().masked_fill(likeliest, 0.0)
    rest = others.sum(dim=-1)  # ε, at most 1 − 1/K
    return -(others * logs).sum(dim=-1) - (1.0 - rest) * torch.log1p(-rest)


def _divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return Σ P log(P / Q) over the last dimension, as Σ P · (e^δ − 1 − δ) with δ = log Q − log P.

    Both distributions sum to 1, so Σ P (e^δ − 1) = Σ (Q − P) = 0 changes nothing, but now no term is negative.
    """
    both = (log_p.detach() > NEVER) & (log_q.detach() > NEVER)
    only_q = (log_p.detach() == NEVER) & (log_q.detach() > NEVER)
    log_p, log_q = log_p.masked_fill(~both, 0.0), log_q.masked_fill(~(both | only_q), 0.0)
    p, q, delta = log_p.exp(), log_q.exp(), log_q - log_p
    near = delta.detach().abs() < 1.0
    close = delta.masked_fill(~near, 0.0)
    terms = torch.where(near, p * (torch.expm1(close) - close), q - p - p * delta)
    return torch.where(both, terms, torch.where(only_q, q, 0.0)).sum(dim=-1)


@torch.no_grad()
def _outside(p: Doubles, q: Doubles) -> Tensor:
    """Tell for which rows (B,) p allows a path that q forbids, by reachability: no probability can underflow."""
    T, B, _ = p.emissions.shape  # time steps, batch
    outside = torch.zeros(B, dtype=torch.bool, device=p.lengths.device)
    if T == 0 or B == 0 or all(bool((part > NEVER).all()) for part in q[:4]):
        return outside
    alive = _reached(p)  # (T, B, K)
    last, ahead = p.lengths - 1, torch.zeros_like(alive[0])
    broken = (p.transitions > NEVER) & (q.transitions == NEVER)
    for t in range(T - 1, -1, -1):
        is_last, goes_on = (last == t).unsqueeze(1), (last > t).unsqueeze(1)  # (B, 1)
        moved = (ahead.double() @ (p.transitions > NEVER).double().T) > 0  # (B, K): a way on from here
        crossed = alive[t].unsqueeze(2) & broken & ahead.unsqueeze(1)  # (B, K, K)
        outside |= crossed.any(dim=2).any(dim=1) & goes_on.squeeze(1)
        ahead = alive[t] & ((is_last & (p.end > NEVER)) | (goes_on & moved))
        outside |= (ahead & (q.emissions[t] == NEVER)).any(dim=1)
        outside |= (ahead & is_last & (q.end == NEVER)).any(dim=1)
    return outside | (ahead & (q.start == NEVER)).any(dim=1)


def _reached(chain: Doubles) -> Tensor:
    """Tell which states (T, B, K) some allowed path from the start leads into."""
    moves, allowed = (chain.transitions > NEVER).double(), chain.emissions > NEVER
    steps = [allowed[0] & (chain.start > NEVER)]
    for now in allowed[1:].unbind(0):
        steps.append(now & ((steps[-1].double() @ moves) > 0))
    return torch.stack(steps)
