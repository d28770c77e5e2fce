"""The dynamic programming of a semi-Markov chain: labelled segments instead of labelled steps.

A segmentation z of n steps is a list of segments (first step, length d ≤ L, label y) that cover the steps without
gap or overlap. Its score is

    s(z) = start[y_1] + Σ_segments (Σ_{t in segment} emissions[t, y] + durations[y, d])
           + Σ_neighbours transitions[y, y'] + end[y_last]

Forward, with ε_t(y) the sum over everything before a segment of label y that begins at step t, and α_t(y) the sum
over everything up to the end of such a segment at step t (Sarawagi and Cohen 2004, equation 4, with the maximum
replaced by a sum):

    ε_1(y) = start[y],   ε_t(y) = log Σ_{y'} exp(α_{t−1}(y') + transitions[y', y])
    α_t(y) = log Σ_{d ≤ min(L, t)} exp(ε_{t−d+1}(y) + emissions[t−d+1 … t, y] + durations[y, d])

The transitions do not depend on the length, so a step costs K² + L·K and not L·K². Backward, with β_t(y) what
follows a segment of label y that ends at step t, and η_t(y) what follows from its beginning at step t:

    β_n(y) = end[y],   β_t(y) = log Σ_{y'} exp(transitions[y, y'] + η_{t+1}(y'))
    η_t(y) = log Σ_d exp(emissions[t … t+d−1, y] + durations[y, d] + β_{t+d−1}(y))

Then P(a segment of label y begins at t) = exp(ε_t(y) + η_t(y) − log Z), and the same with α and β for its end. A
label holds at step t if more of its segments have begun than ended.

S. Sarawagi and W. W. Cohen: Semi-Markov conditional random fields for information extraction. NIPS 2004.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqlab import kernels
from seqlab.chain.inputs import mask_from_lengths, result_dtype, reverse_rows
from seqlab.crf import segments_eager as eager
from seqlab.derivatives import first_derivative_only
from seqlab.errors import ShapeError

__all__ = ["BestSegments", "SegmentChain", "best_segments", "label_marginals", "log_partition", "segment_marginals"]


class BestSegments(NamedTuple):
    """The best segmentation of every row.

    Attributes:
        tags: (T, B), int64, each step's label, −1 beyond a row's length.
        begins: (T, B), bool, where a segment begins.
        score: (B,), the segmentation's score; 0 for an empty row, −inf where every segmentation is forbidden.
    """

    tags: Tensor
    begins: Tensor
    score: Tensor


class SegmentChain(NamedTuple):
    """The scores of a semi-Markov chain.

    Attributes:
        emissions: (T, B, K), floating, B ≥ 1.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        durations: (K, L), of a segment of length 1 … L.
        lengths: (B,), int64.
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    durations: Tensor
    lengths: Tensor

    def result_dtype(self) -> torch.dtype:
        """Return the scores' common dtype, but no narrower than float32."""
        return result_dtype(*self[:5])

    def with_a_step(self) -> "SegmentChain":
        """Return the chain; where T = 0, with one step of padding, from which the recursions can start."""
        if len(self.emissions):
            return self
        return self._replace(emissions=pad(self.emissions, (0, 0, 0, 0, 0, 1)))  # (1, B, K)

    def doubles(self) -> "SegmentChain":
        """Return a float64 copy with zeros in the padding and durations as (L, K).

        Raises:
            ShapeError: a score is NaN or +inf.
        """
        padding = ~mask_from_lengths(self.lengths, len(self.emissions)).unsqueeze(2)
        found = {name: part.detach().double() for name, part in self._asdict().items() if name != "lengths"}
        found["emissions"] = found["emissions"].masked_fill(padding, 0.0)
        found["durations"] = found["durations"].T.contiguous()
        for name, part in found.items():
            # One pass: NaN and +inf both survive the maximum.
            if not bool(part.max() < float("inf")):
                raise ShapeError(f"{name} must hold no NaN and no +inf, got {float(part.max())}")
        return SegmentChain(**found, lengths=self.lengths)


def log_partition(chain: SegmentChain) -> Tensor:
    """Return log Σ_z exp s(z), (B,), float64, −inf where every segmentation is forbidden, 0 for an empty row.

    The gradient is analytic: ∂ log Z / ∂ emissions[t, y] = P(y holds at t), and the expected number of segments of
    each length, of moves, starts and ends. A second derivative raises a RuntimeError.

    Raises:
        ShapeError: a score is NaN or +inf.
    """
    result: Tensor = _LogPartition.apply(*chain.with_a_step())  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def label_marginals(chain: SegmentChain) -> Tensor:
    """Return P(y holds at step t), (T, B, K), 0 in the padding. Errors as in `log_partition`."""
    double = chain.with_a_step().doubles()
    _, found = _segment_counts(double, _both_ways(double))
    return found[: len(chain.emissions)].to(chain.result_dtype())


@torch.no_grad()
def segment_marginals(chain: SegmentChain) -> Tensor:
    """Return P(a segment of length d and label y begins at step t), (T, B, L, K), index d − 1.

    Errors as in `log_partition`.
    """
    double = chain.with_a_step().doubles()
    found = _both_ways(double)
    result = double.emissions.new_zeros((*double.emissions.shape[:2], *double.durations.shape))
    for d, part in enumerate(found.segments(double)):
        result[: len(part), :, d] = part
    return result[: len(chain.emissions)].to(chain.result_dtype())


@torch.no_grad()
def best_segments(chain: SegmentChain) -> BestSegments:
    """Return the segmentation of highest score. Errors as in `log_partition`.

    Ties: the lowest last label, then the shortest last segment, and so on backwards.
    """
    emissions, transitions, start, end, durations, lengths = chain.with_a_step().doubles()
    T, B, _ = emissions.shape  # time steps, batch
    if _compiled(emissions):
        from seqlab.crf.semi_markov_kernels import best_kernel

        tags, begins, score = lengths.new_zeros((B, T)), torch.zeros((B, T), dtype=torch.bool), emissions.new_empty(B)
        inputs = (emissions.transpose(0, 1), transitions, start, end, durations, lengths)
        kernels.run(best_kernel, B, _work(emissions, durations), *_arrays(*inputs, tags, begins, score))
        tags, begins = tags.T, begins.T
    else:
        tags, begins, score = eager.best_segments(emissions, transitions, start, end, durations, lengths)
    inside = mask_from_lengths(lengths, T)
    score = score.masked_fill(lengths == 0, 0.0).to(chain.result_dtype())
    steps = len(chain.emissions)
    return BestSegments(tags.masked_fill(~inside, -1)[:steps], (begins & inside)[:steps], score)


class _BothWays(NamedTuple):
    """The messages of both directions, (T, B, K) each, and log Z with −inf replaced by 0, (B,)."""

    entry: Tensor
    alpha: Tensor
    eta: Tensor
    beta: Tensor
    log_z: Tensor
    log_partition: Tensor

    def segments(self, chain: SegmentChain) -> Any:
        """Yield the probabilities of all segments of length 1 … L."""
        return eager.segment_probabilities(
            chain.emissions, chain.durations, self.entry, self.beta, self.log_z, chain.lengths
        )


def _both_ways(chain: SegmentChain) -> _BothWays:
    """Run both directions of a chain of `doubles`."""
    emissions, lengths = chain.emissions, chain.lengths
    stacked = torch.stack([emissions, reverse_rows(emissions, lengths)], dim=1)  # (T, 2, B, K)
    transitions = torch.stack([chain.transitions, chain.transitions.T])
    start = torch.stack([chain.start, chain.end])
    if _compiled(emissions):
        entry, alpha = _compiled_messages(stacked, transitions, start, chain.durations, lengths)
    else:
        entry, alpha = eager.messages(stacked, transitions, start, chain.durations)
    rows = torch.arange(lengths.numel(), device=lengths.device)
    last = (lengths - 1).clamp(min=0)
    log_z = torch.logsumexp(alpha[last, 0, rows] + chain.end, dim=1).masked_fill(lengths == 0, 0.0)
    # With log Z = −inf every segmentation is forbidden: keep exp(−inf − log Z) at 0 instead of NaN.
    level = log_z.masked_fill(log_z == float("-inf"), 0.0)
    eta, beta = (reverse_rows(part[:, 1], lengths) for part in (alpha, entry))
    return _BothWays(entry[:, 0], alpha[:, 0], eta, beta, level, log_z)


class _LogPartition(torch.autograd.Function):
    """log Z; the messages are kept, and the gradient is read off them."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        chain = SegmentChain(*parts)
        ctx.dtypes = [part.dtype for part in chain[:5]]
        double = chain.doubles()
        found = _both_ways(double)
        ctx.save_for_backward(*double, *found)
        return found.log_partition

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        chain, found = SegmentChain(*saved[:6]), _BothWays(*saved[6:])
        weights = grad.double().masked_fill(found.log_partition == float("-inf"), 0.0)
        counts, labels = _segment_counts(chain, found)
        by_label = labels * weights.unsqueeze(1)  # (T, B, K)
        rows = torch.arange(weights.numel(), device=weights.device)
        moves, durations = _expected_moves(chain, found, weights), torch.einsum("blk,b->lk", counts, weights)
        last = by_label[(chain.lengths - 1).clamp(min=0), rows]
        grads = (by_label, moves, by_label[0].sum(dim=0), last.sum(dim=0), durations.T)
        return *(g.to(dtype) for g, dtype in zip(grads, ctx.dtypes, strict=True)), None


def _segment_counts(chain: SegmentChain, found: _BothWays) -> tuple[Tensor, Tensor]:
    """Return the expected segments of each length and label, (B, L, K), and P(y holds at step t), (T, B, K)."""
    (T, B, K), L = chain.emissions.shape, len(chain.durations)
    if not _compiled(chain.emissions):
        padding = ~mask_from_lengths(chain.lengths, T).unsqueeze(2)
        begun = (found.entry + found.eta - found.log_z.unsqueeze(1)).exp_().masked_fill_(padding, 0.0)
        counts, labels = eager.segment_counts(found.segments(chain), begun, chain.durations)
        return counts, labels.clamp_(max=1.0).masked_fill_(padding, 0.0)
    from seqlab.crf.semi_markov_kernels import segments_kernel

    emissions, entry, eta, beta = (
        part.transpose(0, 1) for part in (chain.emissions, found.entry, found.eta, found.beta)
    )
    counts, labels = emissions.new_zeros((B, L, K)), emissions.new_zeros((B, T, K))
    known = (entry, eta, beta, found.log_z, chain.lengths, counts, labels)
    kernels.run(
        segments_kernel, B, _work(chain.emissions, chain.durations), *_arrays(emissions, chain.durations, *known)
    )
    return counts, labels.clamp_(max=1.0).transpose(0, 1)


def _expected_moves(chain: SegmentChain, found: _BothWays, weights: Tensor) -> Tensor:
    """Return Σ_b weights[b] · the expected moves of row b, (K, K)."""
    known = (chain.transitions, found.log_z, chain.lengths)
    if not _compiled(chain.emissions):
        return eager.move_counts(found.alpha, found.eta, *known, weights)
    from seqlab.crf.semi_markov_kernels import moves_kernel

    alpha, eta = found.alpha.transpose(0, 1), found.eta.transpose(0, 1)
    moves = chain.transitions.new_zeros((weights.numel(), *chain.transitions.shape))
    kernels.run(
        moves_kernel, weights.numel(), _work(chain.emissions, chain.durations), *_arrays(alpha, eta, *known, moves)
    )
    return torch.einsum("bij,b->ij", moves, weights)


def _compiled_messages(
    emissions: Tensor, transitions: Tensor, start: Tensor, durations: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """`eager.messages`, row by row; what lies beyond a row's length is −inf."""
    from seqlab.crf.semi_markov_kernels import messages_kernel

    T, _, B, K = emissions.shape
    by_row = emissions.permute(1, 2, 0, 3).reshape(2 * B, T, K).contiguous()
    entry = by_row.new_full(by_row.shape, float("-inf"))  # contiguous, whatever the strides of `by_row` are
    alpha = entry.clone()
    tops = transitions.amax(dim=(1, 2))
    tops = tops.masked_fill(tops == float("-inf"), 0.0)  # (2,)
    moves = (transitions - tops[:, None, None]).exp()
    inputs = (by_row, transitions, moves, tops, start, durations, lengths.repeat(2))
    kernels.run(messages_kernel, 2 * B, 2 * _work(emissions[:, 0], durations), *_arrays(*inputs, entry, alpha))
    first, second = (part.view(2, B, T, K).permute(2, 0, 1, 3) for part in (entry, alpha))
    return first, second


def _compiled(emissions: Tensor) -> bool:
    return emissions.device.type == "cpu" and kernels.enabled()


def _work(emissions: Tensor, durations: Tensor) -> float:
    """Rough number of multiply-adds of one pass; an exponential counts for ten."""
    L, K = durations.shape
    return emissions.numel() * (K + 10.0 * L)


def _arrays(*parts: Tensor) -> list[Any]:
    return [part.contiguous().numpy() for part in parts]
