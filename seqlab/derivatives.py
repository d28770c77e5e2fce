"""Analytic gradients that cannot be differentiated again say so, instead of being silently constant."""

import functools
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["first_derivative_only"]


def first_derivative_only(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the `backward` of a `torch.autograd.Function`: refuse to run under `create_graph=True`.

    torch's own `once_differentiable` raises only where the incoming gradient needs a gradient itself; a
    gradient penalty would otherwise lose its second derivative without a word.

    Raises:
        RuntimeError: when the decorated function is called with grad mode on.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():
            owner = backward.__qualname__.split(".")[0].lstrip("_")
            raise RuntimeError(f"{owner} has no second derivative: call backward without create_graph=True")
        return backward(ctx, *grads)

    return checked
