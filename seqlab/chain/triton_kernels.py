"""Forward–backward and Viterbi on a GPU: Triton kernels, one program per sequence and direction.

Eager torch launches several kernels a step; here a step never leaves the registers. The recursions, on
probabilities scaled to a sum of 1 (Rabiner 1989, section V.A):

    α_t = m_t ∘ w_t,   c_t = Σ_j α_t(j),   α̂_t = α_t / c_t,   m_{t+1} = (α_t E) / c_t
    E = exp(transitions − top),   w_t = exp(emissions_t − max emissions_t),   m_1 = exp(start − max start)

The backward recursion is the same one on the reversed chain, with E transposed, end for start, and m_t, which then
is β_t, kept as well. Both directions run at once; a second kernel joins them:

    o_t = Σ_j α̂_t(j) β_t(j),   γ_t = α̂_t ∘ β_t / o_t,   ξ_t(i, j) = α̂_t(i) E(i, j) β̂_{t+1}(j) / o_t

What is lost. All factors are at most 1, and a product below `tiny`, the smallest normal number, may become 0 with
every path through it. Dropped before the division by c_t, it carries at most tiny / (c_t o_t) of the whole;
dropped after, at most tiny / o_t. So a row loses no more than about T·K²·tiny / min_t(o_t · min(c_t, 1)). Where that
minimum is not above `LIMITS` (1e-9 is then the most that T·K² = 10^8 products lose), or is not a number, the row is
marked suspicious: the caller computes it again in log space, which also refuses NaN and +inf. Scores of −inf are
exact zeros and ask for nothing more.

What a step costs. It is short and waits for the one before, so latency counts, not throughput. E stays in registers,
32 to 64 float32 numbers a thread. Up to 32 states a sequence has one warp, and no reduction needs a barrier; a GPU
then works on thousands of sequences at once. 64 states take two warps, 128 take eight. The sum c_t is found beside
the product α_t E, not before it, and emissions are fetched some steps ahead, hence in 4 or 8 bytes: asynchronous
copies know no smaller ones.

The tests run the kernels in Triton's interpreter and compile them for sm_80 and sm_90, which needs no GPU. They have
not been run on one yet: figures of speed are still to be measured (`benchmarks/bench_gpu.py`).
"""

from typing import NamedTuple

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor
from triton.language import tensor  # type: ignore[import-not-found,import-untyped,unused-ignore]

from seqlab.chain.inputs import check_chain, result_dtype
from seqlab.errors import ConfigError, ShapeError

__all__ = ["MOST_STATES", "Posterior", "forward_backward", "suits", "viterbi"]

MOST_STATES = 128
LIMITS = {torch.float32: 1e-20, torch.float64: 1e-280}
WARPS = {16: 1, 32: 1, 64: 2, 128: 8}  # of each padded number of states
TILE = 2048  # numbers that one program of `_join_kernel` works on
AHEAD = tl.constexpr(4)  # one more than the steps that emissions are loaded ahead of their use


@triton.jit  # type: ignore[untyped-decorator]
def _finite(x: tensor) -> tensor:
    """Return x, or 0 in place of an infinity or NaN: a shift that never makes −inf − (−inf)."""
    return tl.where(tl.abs(x) < float("inf"), x, 0.0)


@triton.jit(do_not_specialize=["stride_t", "stride_b", "B", "T"])  # type: ignore[untyped-decorator]
def _messages_kernel(
    emissions: tensor, stride_t: tensor, stride_b: tensor, stride_k: tensor, lengths: tensor,
    move: tensor, boundary: tensor, tops: tensor, prefix: tensor, incoming: tensor, scale: tensor, log_z: tensor,
    B: tensor, T: tensor, K: tensor, PADDED: tl.constexpr,
) -> None:  # fmt: skip
    """Run one direction over one row: grid (B, 2).

    Reads move (K, K), boundary (2, K) = exp of start and end, tops (3,) = what start, end and move were lowered by.
    Writes prefix (2, B, T, K) = α̂ and β̂, incoming (B, T, K) = β, scale (B, T) = c forward, log_z (B,).
    """
    row, direction = tl.program_id(0).to(tl.int64), tl.program_id(1)
    forward = direction == 0
    state = tl.arange(0, PADDED)
    real = state < K
    length = tl.load(lengths + row).to(tl.int32)
    stride_from, stride_to = tl.where(forward, K, 1), tl.where(forward, 1, K)
    E = tl.load(
        move + state[:, None] * stride_from + state[None, :] * stride_to,
        mask=real[:, None] & real[None, :],
        other=0.0,
    )
    message = tl.load(boundary + direction * K + state, mask=real, other=0.0)
    finish = tl.load(boundary + (1 - direction) * K + state, mask=real, other=0.0)

    alpha_hat = message
    total = tl.load(tops) + tl.load(tops + 1) + tl.load(tops + 2) * (length - 1)  # float64
    for s in tl.range(0, length, num_stages=AHEAD):
        t = tl.where(forward, s, length - 1 - s).to(tl.int64)
        scores = tl.load(emissions + row * stride_b + t * stride_t + state * stride_k, mask=real, other=float("-inf"))
        largest = tl.max(scores, axis=0)
        alpha = message * tl.exp(scores - largest)
        c = tl.sum(alpha, axis=0)
        alpha_hat = alpha / c
        tl.store(incoming + (row * T + t) * K + state, message, mask=state < tl.where(forward, 0, K))
        tl.store(prefix + ((direction * B + row) * T + t) * K + state, alpha_hat, mask=real)
        tl.store(scale + row * T + t, c, mask=forward)
        total += tl.log(c).to(tl.float64) + largest.to(tl.float64)
        message = tl.sum(alpha[:, None] * E, axis=0) / c
    total += tl.log(tl.sum(alpha_hat * finish, axis=0)).to(tl.float64)
    tl.store(log_z + row, tl.where(length > 0, total, 0.0), mask=forward)


@triton.jit(do_not_specialize=["B", "T"])  # type: ignore[untyped-decorator]
def _join_kernel(
    lengths: tensor, prefix: tensor, incoming: tensor, scale: tensor, worst: tensor, B: tensor, T: tensor, K: tensor,
    PADDED: tl.constexpr, STEPS: tl.constexpr,
) -> None:  # fmt: skip
    """Join both directions over some steps of one row: grid (B, ⌈T / STEPS⌉).

    Replaces incoming by γ and prefix[1, :, t + 1] by β̂_{t+1} / o_t. Writes worst (B, ⌈T / STEPS⌉), the smallest
    o_t · min(c_t, 1), 0 for NaN.
    """
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    step, state = part * STEPS + tl.arange(0, STEPS), tl.arange(0, PADDED)
    length = tl.load(lengths + row).to(tl.int32)
    real = (state < K)[None, :]
    here, moves_on = (step < length)[:, None] & real, (step + 1 < length)[:, None] & real
    at = step[:, None] * K + state[None, :]
    before, after, later = prefix + row * T * K + at, incoming + row * T * K + at, prefix + (B + row) * T * K + K + at

    joint = tl.load(before, mask=here, other=0.0) * tl.load(after, mask=here, other=0.0)
    overlap = tl.where(step < length, tl.sum(joint, axis=1), 1.0)
    tl.store(after, joint / overlap[:, None], mask=here)
    tl.store(later, tl.load(later, mask=moves_on, other=0.0) / overlap[:, None], mask=moves_on)

    kept = overlap * tl.minimum(tl.load(scale + row * T + step, mask=step < length, other=1.0), 1.0)
    kept = tl.where(kept > 0.0, kept, 0.0)
    tl.store(worst + row * tl.num_programs(1) + part, tl.min(tl.where(step < length, kept, 1.0), axis=0))


@triton.jit(do_not_specialize=["stride_t", "stride_b", "B", "T"])  # type: ignore[untyped-decorator]
def _best_prefixes_kernel(
    emissions: tensor, stride_t: tensor, stride_b: tensor, stride_k: tensor, lengths: tensor,
    transitions: tensor, start: tensor, end: tensor, tops: tensor, deltas: tensor, last: tensor, score: tensor,
    B: tensor, T: tensor, K: tensor, PADDED: tl.constexpr,
) -> None:  # fmt: skip
    """Find every δ_t of one row: grid (B,). Scores are lowered by their maxima so that float32 keeps their differences.

        δ_t(j) = m_t(j) + emissions_t(j) − max emissions_t,   m_{t+1}(j) = max_i (δ_t(i) + transitions(i, j)) − max δ_t

    Reads tops (1,), what the transitions were lowered by. Writes deltas (B, T, K), last (B,), score (B,): NaN if any
    score is.
    """
    row = tl.program_id(0).to(tl.int64)
    state = tl.arange(0, PADDED)
    real = state < K
    length = tl.load(lengths + row).to(tl.int32)
    never = float("-inf")
    pairs = real[:, None] & real[None, :]
    moves = tl.load(transitions + state[:, None] * K + state[None, :], mask=pairs, other=never)
    message = tl.load(start + state, mask=real, other=never)
    finish = tl.load(end + state, mask=real, other=never)
    unknown = tl.max((moves != moves).to(tl.int32), axis=0) | (message != message) | (finish != finish)

    final = message
    total = tl.load(tops) * (length - 1)  # float64
    for s in tl.range(0, length, num_stages=AHEAD):
        t = tl.cast(s, tl.int64)
        scores = tl.load(emissions + row * stride_b + t * stride_t + state * stride_k, mask=real, other=never)
        largest = _finite(tl.max(scores, axis=0))
        delta = message + (scores - largest)
        highest = _finite(tl.max(delta, axis=0))
        tl.store(deltas + (row * T + t) * K + state, delta, mask=real)
        unknown = unknown | (scores != scores)
        total += largest.to(tl.float64) + highest.to(tl.float64)
        final = delta - highest + finish
        message = tl.max(delta[:, None] + moves, axis=0) - highest
    best = total + tl.max(final, axis=0).to(tl.float64)
    best = tl.where(tl.max(unknown, axis=0) > 0, float("nan"), best)
    tl.store(score + row, tl.where(length > 0, best, 0.0))
    tl.store(last + row, tl.minimum(tl.argmax(final, axis=0), K - 1))


@triton.jit(do_not_specialize=["B", "T"])  # type: ignore[untyped-decorator]
def _trace_back_kernel(
    lengths: tensor, into: tensor, deltas: tensor, last: tensor, tags: tensor,
    B: tensor, T: tensor, K: tensor, PADDED: tl.constexpr,
) -> None:  # fmt: skip
    """Read one row's best path backwards, y_{t−1} = argmax_i δ_{t−1}(i) + transitions(i, y_t): grid (B,).

    Reads into (K, K), the lowered transitions transposed. Writes tags (T, B).
    """
    row = tl.program_id(0).to(tl.int64)
    state = tl.arange(0, PADDED)
    real = state < K
    length = tl.load(lengths + row).to(tl.int32)
    tag = tl.load(last + row)
    for s in tl.range(0, length):
        t = (length - 1 - s).to(tl.int64)
        tl.store(tags + t * B + row, tag.to(tl.int64))
        delta = tl.load(deltas + (row * T + t - 1) * K + state, mask=state < tl.where(t > 0, K, 0), other=float("-inf"))
        joint = delta + tl.load(into + tag * K + state, mask=real, other=float("-inf"))
        tag = tl.minimum(tl.argmax(joint, axis=0), K - 1)  # the lowest of equals; never a padded state


class Posterior(NamedTuple):
    """What the posterior over paths says of each row. Rows that are `suspicious` hold nothing to use.

    Attributes:
        log_partition: (B,), float64.
        states: (T, B, K), γ_t(j), 0 in the padding; float32, or float64 if a score was.
        suspicious: (B,), bool: paths may have been lost, or a score is NaN or +inf. To be computed again.
        prefix: (B, T, K), α̂_t(i), 0 in the padding.
        ahead: (B, T, K), β̂_t(j) / o_{t−1}, 0 in the padding; of no meaning at t = 0.
        move: (K, K), E(i, j).
    """

    log_partition: Tensor
    states: Tensor
    suspicious: Tensor
    prefix: Tensor
    ahead: Tensor
    move: Tensor

    def expected_moves(self, weights: Tensor) -> Tensor:
        """Return Σ_b weights[b] Σ_t ξ_t(i, j) as (K, K), float64, without the suspicious rows; weights is (B,)."""
        B, _, K = self.prefix.shape
        by_row = torch.bmm(self.prefix[:, :-1].transpose(1, 2), self.ahead[:, 1:])  # (B, K, K)
        by_row = by_row.masked_fill_(self.suspicious.view(B, 1, 1), 0.0).view(B, K * K)
        return (weights.double() @ by_row.double()).view(K, K) * self.move.double()


def suits(emissions: Tensor) -> bool:
    """Tell whether the kernels can work on these (T, B, K) emissions: their device, and K up to `MOST_STATES`."""
    return (emissions.is_cuda or _interpreted()) and 1 <= emissions.size(2) <= MOST_STATES


@torch.no_grad()
def forward_backward(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> Posterior:
    """Compute the log-partition and the posterior of every row.

    Args:
        emissions: (T, B, K), floating, any strides. float64 is computed in float64, all else in float32.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        The posterior, without gradient. Its suspicious rows are left to the caller.

    Raises:
        ShapeError: a shape, a dtype or a length is wrong, or there are more than `MOST_STATES` states.
        ConfigError: the tensors are on the CPU and Triton's interpreter is off.
    """
    lengths, dtype = _checked(emissions, transitions, start, end, lengths)
    T, B, K = emissions.shape  # time steps, batch, states
    emissions, padded = emissions.to(dtype), _padded(K)
    boundary = torch.stack([start, end]).to(dtype)  # (2, K)
    move, top = transitions.to(dtype).contiguous(), transitions.max().double().view(1)
    tops = torch.cat([boundary.amax(dim=1).double(), top])  # (3,)
    boundary = (boundary - boundary.amax(dim=1, keepdim=True)).exp_()
    move = (move - move.max()).exp_()
    prefix, incoming = move.new_zeros((2, B, T, K)), move.new_zeros((B, T, K))
    log_z = torch.zeros(B, dtype=torch.float64, device=emissions.device)
    scale = move.new_empty((B, T))
    steps = max(1, TILE // padded)
    worst = move.new_empty((B, triton.cdiv(T, steps)))
    if T > 0 and B > 0:
        with torch.cuda.device_of(emissions):  # type: ignore[no-untyped-call]
            _messages_kernel[(B, 2)](
                emissions, *emissions.stride(), lengths, move, boundary, tops, prefix, incoming, scale, log_z,
                B, T, K, padded, num_warps=WARPS[padded], enable_fp_fusion=True,
            )  # fmt: skip
            _join_kernel[(B, worst.size(1))](
                lengths, prefix, incoming, scale, worst, B, T, K, padded, steps, num_warps=4, enable_fp_fusion=True
            )
    safe = (worst > LIMITS[dtype]).all(dim=1) & log_z.isfinite()
    return Posterior(log_z, incoming.transpose(0, 1), ~safe, prefix[0], prefix[1], move)


@torch.no_grad()
def viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Find the best path of every row (Viterbi 1967); of equally good ones the one `seqlab.chain.viterbi` names.

    Arguments and errors as in `forward_backward`. In float32, paths whose scores differ by rounding only count as
    equally good.

    Returns:
        tags (T, B), int64, −1 beyond a row's length; score (B,), float64: 0 for an empty row, −inf where every path
        is forbidden, NaN where a score is NaN.
    """
    lengths, dtype = _checked(emissions, transitions, start, end, lengths)
    T, B, K = emissions.shape  # time steps, batch, states
    emissions, padded = emissions.to(dtype), _padded(K)
    moves, first, final = (part.to(dtype).contiguous() for part in (transitions, start, end))
    top = moves.max()
    top = torch.where(top.isfinite(), top, 0.0)
    moves = moves - top
    deltas = moves.new_empty((B, T, K))
    last = torch.empty(B, dtype=torch.int32, device=emissions.device)
    score = torch.zeros(B, dtype=torch.float64, device=emissions.device)
    tags = lengths.new_full((T, B), -1)
    if T > 0 and B > 0:
        with torch.cuda.device_of(emissions):  # type: ignore[no-untyped-call]
            _best_prefixes_kernel[(B,)](
                emissions, *emissions.stride(), lengths, moves, first, final, top.double(), deltas, last, score,
                B, T, K, padded, num_warps=WARPS[padded], enable_fp_fusion=True,
            )  # fmt: skip
            _trace_back_kernel[(B,)](
                lengths, moves.T.contiguous(), deltas, last, tags, B, T, K, padded, num_warps=1, enable_fp_fusion=True
            )
    return tags, score


def _checked(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None
) -> tuple[Tensor, torch.dtype]:
    """Return the (B,) lengths and the dtype to compute in."""
    lengths = check_chain(emissions, transitions, start, end, lengths)
    if emissions.size(2) > MOST_STATES:
        raise ShapeError(f"emissions must have at most {MOST_STATES} states on a GPU, got K = {emissions.size(2)}")
    if not emissions.is_cuda and not _interpreted():
        raise ConfigError("Triton kernels need tensors on a GPU; for the CPU set TRITON_INTERPRET=1 before the start")
    return lengths.contiguous(), result_dtype(emissions, transitions, start, end)


def _interpreted() -> bool:
    """Tell whether Triton was imported with its interpreter on, which runs kernels on the CPU, slowly."""
    return not isinstance(_finite, triton.runtime.JITFunction)


def _padded(num_states: int) -> int:
    return max(16, int(triton.next_power_of_2(num_states)))
