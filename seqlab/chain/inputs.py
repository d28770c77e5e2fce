"""Checks of the chain's arguments, and the two ways to say where a row ends: masks and lengths."""

import torch
from torch import Tensor

from seqlab.errors import ShapeError

__all__ = [
    "check_chain",
    "check_numbers",
    "check_tag_shape",
    "check_tags",
    "lengths_from_mask",
    "mask_from_lengths",
    "result_dtype",
    "reverse_rows",
]


def check_chain(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor | None) -> Tensor:
    """Check the shapes of a chain and return its lengths.

    Args:
        emissions: (T, B, K), floating.
        transitions: (K, K), floating.
        start: (K,), floating.
        end: (K,), floating.
        lengths: (B,), integers in 0 … T, or None.

    Returns:
        (B,), int64, the lengths; T everywhere if `lengths` was None.

    Raises:
        ShapeError: a shape, a dtype or a length is wrong.
    """
    if emissions.dim() != 3:
        raise ShapeError(f"emissions must have dimension of 3 (T, B, K), got shape {tuple(emissions.shape)}")
    if not emissions.is_floating_point():
        raise ShapeError(f"emissions must be floating point, got {emissions.dtype}")
    T, B, K = emissions.shape  # time steps, batch, states
    if K == 0:
        raise ShapeError("emissions must have at least one state, got K = 0")
    for name, tensor, expected in (
        ("transitions", transitions, (K, K)),
        ("start", start, (K,)),
        ("end", end, (K,)),
    ):
        if tuple(tensor.shape) != expected:
            raise ShapeError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")
    if lengths is None:
        return torch.full((B,), T, dtype=torch.int64, device=emissions.device)
    if tuple(lengths.shape) != (B,):
        raise ShapeError(f"lengths must have shape {(B,)}, got {tuple(lengths.shape)}")
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ShapeError(f"lengths must be integers, got {lengths.dtype}")
    # What depends on values cannot be asked while torch.compile traces; the operators behind are safe all the same.
    if not torch.compiler.is_compiling() and B and not 0 <= int(lengths.min()) <= int(lengths.max()) <= T:
        raise ShapeError(f"lengths must lie in 0 … {T}, got {int(lengths.min())} … {int(lengths.max())}")
    return lengths.to(device=emissions.device, dtype=torch.int64)


def check_tag_shape(tags: Tensor, lengths: Tensor, num_steps: int) -> None:
    """Raise a ShapeError unless `tags` are (T, B) integers."""
    if tuple(tags.shape) != (num_steps, lengths.numel()):
        raise ShapeError(f"tags must have shape {(num_steps, lengths.numel())}, got {tuple(tags.shape)}")
    if tags.is_floating_point() or tags.dtype == torch.bool:
        raise ShapeError(f"tags must be integers, got {tags.dtype}")


def check_tags(tags: Tensor, lengths: Tensor, num_steps: int, num_tags: int) -> Tensor:
    """Check the tags of the valid steps and return all of them with 0 in the padding.

    Args:
        tags: (T, B), integers in 0 … num_tags − 1 wherever there is a token.
        lengths: (B,), int64.
        num_steps: T.
        num_tags: K.

    Returns:
        (T, B), int64.

    Raises:
        ShapeError: the shape or dtype is wrong, or a tag is out of range.
    """
    check_tag_shape(tags, lengths, num_steps)
    inside = tags.long().masked_fill(~mask_from_lengths(lengths, num_steps), 0)  # (T, B)
    if torch.compiler.is_compiling():
        return inside
    if inside.numel() and not 0 <= int(inside.min()) <= int(inside.max()) < num_tags:
        wrong = int(inside.min()) if int(inside.min()) < 0 else int(inside.max())
        raise ShapeError(f"tags must lie in 0 … {num_tags - 1}, got {wrong}")
    return inside


def check_numbers(emissions: Tensor, lengths: Tensor) -> None:
    """Refuse NaN and +inf in the (T, B, K) emissions within the rows' (B,) lengths.

    Raises:
        ShapeError: it names the first place.
    """
    # One cheap pass: whatever is not finite shows in the sum.
    if torch.compiler.is_compiling() or bool(emissions.detach().sum().isfinite()):
        return
    padding = ~mask_from_lengths(lengths, emissions.size(0)).unsqueeze(2)
    wrong = ~(emissions.detach() < float("inf")).masked_fill(padding, True)  # (T, B, K)
    if bool(wrong.any()):
        step, row, tag = wrong.nonzero()[0].tolist()
        value = float(emissions[step, row, tag])
        raise ShapeError(f"emissions must hold no NaN and no +inf, got {value} at step {step} of row {row}")


def mask_from_lengths(lengths: Tensor, num_steps: int) -> Tensor:
    """Return the (T, B) bool mask that is True at the first `lengths[b]` steps of row b."""
    steps = torch.arange(num_steps, device=lengths.device)
    return steps.unsqueeze(1) < lengths.unsqueeze(0)


def lengths_from_mask(mask: Tensor) -> Tensor:
    """Return the (B,) int64 lengths of a (T, B) mask, time first.

    Args:
        mask: (T, B), bool or numbers; True (non-zero) where there is a token.

    Raises:
        ShapeError: the mask is not 2-D, or a row has a token after padding.
    """
    if mask.dim() != 2:
        raise ShapeError(f"mask must have dimension of 2 (T, B), got shape {tuple(mask.shape)}")
    tokens = mask.bool()
    gaps = (tokens[1:] & ~tokens[:-1]).any(dim=0)  # (B,) a token right after padding
    if bool(gaps.any()):
        row = int(gaps.nonzero()[0])
        raise ShapeError(f"mask must be contiguous from the first step, row {row} has a token after padding")
    return tokens.sum(dim=0)


def reverse_rows(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each row's valid part in time: (T, B, …) → (T, B, …); the padding's content is unspecified."""
    num_steps = values.size(0)
    if num_steps == 0 or bool((lengths == num_steps).all()):
        return values.flip(0)
    steps = torch.arange(num_steps, device=values.device).unsqueeze(1)
    source = (lengths.unsqueeze(0) - 1 - steps).clamp(min=0)  # (T, B)
    return values[source, torch.arange(values.size(1), device=values.device)]


def result_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the common dtype of the arguments, but no narrower than float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
