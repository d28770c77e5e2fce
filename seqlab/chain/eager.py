"""Forward–backward in eager torch, on any device: the readable version, and the one that never gives up.

It works in float64, with scaled probabilities and, where these could lose paths, in log space; so the compiled
engines hand over to it the rows that they mark as unsafe.
"""

import torch
from torch import Tensor

from seqlab.chain.doubles import Doubles
from seqlab.chain.inputs import mask_from_lengths, reverse_rows
from seqlab.chain.messages import SMALLEST_SCALE, Messages, log_messages, scaled_messages, scaled_suits

__all__ = ["EagerPosterior", "eager_log_partition"]


def eager_log_partition(chain: Doubles) -> Tensor:
    """Return the (B,) log-partitions by the forward recursion alone; T ≥ 1."""
    return _messages(chain, directions=1)[2]


class EagerPosterior:
    """Both directions of a chain with T ≥ 1, and what follows from them, all in float64.

    Attributes:
        log_partition: (B,), −inf where every path is forbidden.
        states: (T, B, K), γ_t(j) = P(y_t = j); 0 in the padding.
    """

    def __init__(self, chain: Doubles) -> None:
        messages, scaled, log_z = _messages(chain, directions=2)
        mask = mask_from_lengths(chain.lengths, chain.emissions.size(0))  # (T, B)
        future = reverse_rows(messages.incoming[:, 1], chain.lengths)  # (T, B, K), without step t's emission
        # A copy: the parameter may change before `moves` is called.
        self._transitions, self._lengths, self._scaled = chain.transitions.clone(), chain.lengths, scaled
        self._prefix = messages.prefix[:, 0]  # (T, B, K), paths up to step t and its emission
        self._suffix = reverse_rows(messages.prefix[:, 1], chain.lengths)  # (T, B, K), from step t's emission on
        if scaled:
            states = self._prefix * future
            self._overlap = states.sum(dim=2)  # (T, B)
            states = states / self._overlap.unsqueeze(2)
        else:
            joint = self._prefix + future
            overlap = joint.logsumexp(dim=2)  # (T, B)
            # Where every path is forbidden: keep exp(−inf − overlap) at 0 instead of NaN.
            self._overlap = overlap.masked_fill(overlap == float("-inf"), 0.0)
            states = (joint - self._overlap.unsqueeze(2)).exp_()
        self.log_partition = log_z
        self.states = states.masked_fill(~mask.unsqueeze(2), 0.0)

    def weighted_states(self, weights: Tensor) -> Tensor:
        """Return weights[b] · γ_t(j), (T, B, K)."""
        return self.states * weights.to(self.states.dtype).unsqueeze(1)

    def moves(self, weights: Tensor) -> Tensor:
        """Return Σ_b weights[b] Σ_t ξ_t(i, j) as (K, K), where ξ_t joins prefix_t(i), the move and suffix_{t+1}(j)."""
        T, _, K = self.states.shape
        transitions, weights = self._transitions, weights.double()
        inside = mask_from_lengths(self._lengths - 1, T)[:-1]  # (T-1, B): steps with a successor
        if self._scaled:
            # The same scaling as in `scaled_messages`, so that the overlap is Σ_ij of the products below.
            move = (transitions - transitions.max()).exp_()
            share = (weights / self._overlap[:-1]).masked_fill(~inside, 0.0)  # (T-1, B)
            after = (self._suffix[1:] * share.unsqueeze(2)).masked_fill(~inside.unsqueeze(2), 0.0)
            return move * (self._prefix[:-1].reshape(-1, K).T @ after.reshape(-1, K))
        moves = torch.zeros_like(transitions)
        for t in range(T - 1):
            rows = inside[t].nonzero().squeeze(1)
            ahead = self._suffix[t + 1, rows] - self._overlap[t, rows].unsqueeze(1)  # (B', K)
            joint = self._prefix[t, rows].unsqueeze(2) + transitions + ahead.unsqueeze(1)  # (B', K, K)
            moves += torch.einsum("bij,b->ij", joint.exp_(), weights[rows])
        return moves


def _messages(chain: Doubles, directions: int) -> tuple[Messages, bool, Tensor]:
    """Run one or both directions; return the messages, whether they are linear, and the (B,) log-partition."""
    emissions = chain.emissions.unsqueeze(1)
    transitions, start = chain.transitions.unsqueeze(0), chain.start.unsqueeze(0)
    if directions == 2:
        emissions = torch.stack([chain.emissions, reverse_rows(chain.emissions, chain.lengths)], dim=1)
        transitions = torch.stack([chain.transitions, chain.transitions.T])
        start = torch.stack([chain.start, chain.end])
    last = (chain.lengths - 1).clamp(min=0)  # (B,)
    rows = torch.arange(last.numel(), device=last.device)

    if scaled_suits(chain.emissions, chain.transitions, chain.start, chain.end):
        messages = scaled_messages(emissions, transitions, start)
        if messages is not None:
            top = chain.end.max()
            total = messages.prefix[last, 0, rows] @ (chain.end - top).exp()  # (B,)
            if bool((total > SMALLEST_SCALE).all()):
                log_z = messages.log_scale[last, 0, rows] + total.log() + top
                return messages, True, log_z.masked_fill(chain.lengths == 0, 0.0)
    messages = log_messages(emissions, transitions, start)
    log_z = torch.logsumexp(messages.prefix[last, 0, rows] + chain.end, dim=1) + messages.log_scale[last, 0, rows]
    return messages, False, log_z.masked_fill(chain.lengths == 0, 0.0)
