"""The network a user hands over: what is wrapped around it comes off, what cannot be pruned is refused."""

from __future__ import annotations

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedParameter

from .errors import PlanError


def plain_network(model: nn.Module) -> nn.Module:
    """The network itself inside `torch.compile`, `DataParallel` or `DistributedDataParallel`, checked.

    They compute what it computes under other names, so that files would not load in the network.

    Raises:
        PlanError: for programs of TorchScript, lazy layers that never ran, and weights that a hook
            computes before every pass.

    >>> inside = nn.Linear(2, 2)
    >>> plain_network(nn.DataParallel(inside)) is inside
    True
    """
    while isinstance(model, nn.Module) and (inner := _inside(model)) is not None:
        model = inner
    if isinstance(model, ScriptModule):
        raise PlanError(
            f"a {type(model).__name__} is a program of TorchScript, out of which nothing can be cut; "
            "give the Python network that it was made from"
        )
    if isinstance(model, nn.Module):
        for name, module in model.named_modules():
            _check_layer(name or "the network", module)
    return model


def _inside(model: nn.Module) -> nn.Module | None:
    if isinstance(model, DataParallel | DistributedDataParallel):
        return model.module
    return dict(model.named_children()).get(
        "_orig_mod"
    )  # torch.compile: its class would import the compiler


def _check_layer(name: str, layer: nn.Module) -> None:
    if any(isinstance(p, UninitializedParameter) for p in layer.parameters(recurse=False)):
        raise PlanError(
            f"'{name}' is a lazy layer without weights; run the network once on an example"
        )
    for key, value in vars(layer).items():
        hooked = {f"{key}_orig", f"{key}_v"} & {*layer._parameters}
        if isinstance(value, Tensor) and (hooked or value.grad_fn is not None):
            raise PlanError(f"'{name}.{key}' {_computed(key, bool(hooked))}")


def _computed(key: str, hooked: bool) -> str:
    """What a tensor that is no parameter is, and what to do."""
    if hooked:
        return (
            "is computed before every pass by an older torch.nn.utils weight_norm, spectral_norm or prune, "
            "and cannot be cut. Take that off (remove_weight_norm, remove_spectral_norm, "
            f"prune.remove(layer, '{key}'))"
        )
    return "is a tensor kept from a pass with gradients, which cannot be copied; detach it or set it to None"
