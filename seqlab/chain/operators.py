"""The log-partition as an operator that `torch.compile` and `torch.export` take as a whole, without looking inside.

Eager code doesn't come here: an operator cannot keep the posterior from forward to backward, so its gradient runs
the recursions a second time.
"""

from typing import Any

import torch
from torch import Tensor

from seqlab.chain.inputs import check_chain

__all__ = ["log_partition"]


@torch.library.custom_op("seqlab::log_partition", mutates_args=())
def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return (B,) log-partitions in float64. Arguments as in `seqlab.chain.log_partition`, lengths never None."""
    from seqlab.chain import partition

    lengths = check_chain(emissions, transitions, start, end, lengths)

    if emissions.numel() == 0:
        return torch.zeros(emissions.size(1), dtype=torch.float64, device=emissions.device)
    return partition.posterior(emissions, transitions, start, end, lengths).log_partition.clone()


@torch.library.custom_op("seqlab::log_partition_gradients", mutates_args=())
def log_partition_gradients(
    grad: Tensor, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of Σ_b grad[b] · log Z_b by emissions, transitions, start and end."""
    from seqlab.chain import partition

    parts = (emissions, transitions, start, end)
    if emissions.numel() == 0:
        zeros = [torch.zeros_like(part) for part in parts]
        return zeros[0], zeros[1], zeros[2], zeros[3]
    found = partition.posterior(*parts, lengths)
    grads = partition.partition_gradients(found, lengths, grad)
    by_emission, by_move, by_start, by_end = (g.to(part.dtype) for g, part in zip(grads, parts, strict=True))
    return by_emission, by_move, by_start, by_end


@log_partition.register_fake
def _(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    return emissions.new_empty((emissions.shape[1],), dtype=torch.float64)


@log_partition_gradients.register_fake
def _(
    grad: Tensor, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(torch.empty_like(part) for part in (emissions, transitions, start, end))  # type: ignore[return-value]


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *log_partition_gradients(grad, *ctx.saved_tensors), None


log_partition.register_autograd(_differentiate, setup_context=_keep)
