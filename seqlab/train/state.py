"""Model, optimiser and random generators as one flat dict of named tensors, and back."""

from collections.abc import Mapping

import torch

from seqlab.errors import CheckpointError

__all__ = ["pack", "pack_weights", "unpack"]


def pack_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the model's weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def pack(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Everything that decides the next steps: weights, `best` weights, optimiser moments, generator states.

    Names: `model/<name>`, `best/<name>`, `optimizer/<number of the parameter>/<moment>`, `random/<device>`.
    """
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer/{number}/{name}"] = torch.as_tensor(value)
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return tensors


def unpack(
    tensors: Mapping[str, torch.Tensor], model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Undo `pack`: load model, optimiser and generators, return the best weights.

    Raises:
        CheckpointError: the tensors are of another model.
    """
    groups: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    try:
        model.load_state_dict(groups["model"])
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint is of another model, so resuming cannot work: start anew with another name, or remove the "
            f"folder checkpoints/ to train from step 0 ({error})"
        ) from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in groups["optimizer"].items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(groups["random"]["cpu"])
    if torch.cuda.is_available() and "cuda" in groups["random"]:
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in groups["best"].items()}
