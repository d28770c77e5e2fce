"""The score of one given path: the numerator of the CRF's likelihood."""

from torch import Tensor

from seqlab.chain.inputs import check_chain, check_tags, mask_from_lengths, result_dtype

__all__ = ["path_score", "path_score_in_double"]


def path_score(
    emissions: Tensor,
    tags: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor | None = None,
) -> Tensor:
    """Sum the scores met along the given paths, s(y) of the package docstring.

    Args:
        emissions: (T, B, K), floating.
        tags: (T, B), integers; the padding may hold anything.
        transitions: (K, K).
        start: (K,).
        end: (K,).
        lengths: (B,) or None.

    Returns:
        (B,), differentiable any number of times.

    Raises:
        ShapeError: a shape, a dtype, a length or a tag is wrong.
    """
    lengths = check_chain(emissions, transitions, start, end, lengths)
    score = path_score_in_double(emissions, tags, transitions, start, end, lengths)
    return score.to(result_dtype(emissions, transitions, start, end))


def path_score_in_double(
    emissions: Tensor, tags: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Return the same as float64, for differences; the chain is checked."""
    T, _, K = emissions.shape  # time steps, states
    tags = check_tags(tags, lengths, T, K)
    if T == 0:
        return emissions.double().sum(dim=(0, 2))
    mask = mask_from_lengths(lengths, T)  # (T, B)

    emitted = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # (T, B)
    score = emitted.double().masked_fill(~mask, 0.0).sum(dim=0)  # (B,)

    pairs = tags[:-1] * K + tags[1:]  # (T-1, B) index into the flattened transitions
    moved = transitions.reshape(-1)[pairs]  # (T-1, B)
    score = score + moved.double().masked_fill(~mask[1:], 0.0).sum(dim=0)

    last = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)  # (B,)
    ends = start[tags[0]].double() + end[last].double()  # (B,)
    return score + ends.masked_fill(lengths == 0, 0.0)
