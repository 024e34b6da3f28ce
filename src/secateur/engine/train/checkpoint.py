"""The state of a training as plain tensors and plain data: what safetensors and JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import StorageError, nearest


def prefixed(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Contiguous copies under `prefix.name`, which later steps do not change."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise StorageError(
                f"state '{name}' is a {type(tensor).__name__}, not a tensor; it cannot be saved"
            )
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        out[f"{prefix}.{name}"] = copied
    return out


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors saved under `prefix`, by their own names."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """`parameter.state` -> tensor, for every state the optimiser has begun."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        f"{names[id(param)]}.{key}": value
        for param, state in optimizer.state.items()
        for key, value in state.items()
        if value is not None
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Replace the optimiser's state by what `optimizer_tensors` gave."""
    names = {id(p): name for name, p in model.named_parameters()}
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        name, _, key = full.rpartition(".")
        if name not in order:
            raise _foreign(f"optimiser.{full}", order)
        states.setdefault(order.index(name), {})[key] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def check_same(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint whose names or shapes are not those of this training."""
    for name in saved.keys() ^ own.keys():
        raise _foreign(name, own)
    for name, tensor in saved.items():
        if tensor.shape != own[name].shape:
            raise StorageError(
                f"the checkpoint's '{name}' is {list(tensor.shape)}, this training has "
                f"{list(own[name].shape)}; it belongs to another network"
            )


def _foreign(name: str, own: Any) -> StorageError:
    guess = nearest(name, own)
    hint = f" (nearest: '{guess}')" if guess and guess != name else ""
    return StorageError(
        f"'{name}' is only in one of the checkpoint and this training{hint}; "
        "resume with the network and the configuration that were saved"
    )
