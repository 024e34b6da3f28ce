"""What an example and a model have to be before they are traced."""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from secateur.structure.graph.errors import TraceError

TAKEN = {"meta", *vars(fx.GraphModule)} - {*dir(nn.Module)}
"""Attributes of a graph as a module."""


def check(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse what is no module, lies on several devices, or has no example on its own device."""
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"a network is a torch.nn.Module, given {type(model).__name__}. Remedy: pass the module"
        )
    inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not inputs:
        given = ", ".join(type(leaf).__name__ for leaf in pytree.tree_leaves((args, kwargs)))
        raise TraceError(
            f"the example holds no tensor ({given or 'it is empty'}). Remedy: give a tensor, a "
            "tuple of arguments or a dict of keywords, as the model is called"
        )
    if not inputs[0].numel():
        raise TraceError(
            f"the example is empty ({described(args, kwargs)}). Remedy: give it two samples"
        )
    _check_devices(model, inputs)
    _check_names(model)


def _check_names(model: nn.Module) -> None:
    """Names that torch's own graphs have for themselves, and words of Python, cannot be theirs too."""
    for path, _ in [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]:
        first, *rest = path.split(".")
        taken = first in TAKEN or next((part for part in (first, *rest) if iskeyword(part)), None)
        if taken:
            raise TraceError(
                f"'{path}' cannot be traced: '{first if taken is True else taken}' is a name that torch's "
                "graphs or Python have for themselves. Remedy: call that attribute otherwise"
            )


def _check_devices(model: nn.Module, inputs: list[Tensor]) -> None:
    places = {
        str(t.device): name
        for name, t in reversed([*model.named_parameters(), *model.named_buffers()])
    }
    if len(places) > 1:
        where = ", ".join(f"{device} ('{name}')" for device, name in sorted(places.items()))
        raise TraceError(
            f"the model lies on several devices: {where}. Remedy: move it to one, "
            "model.to(device), and trace it there"
        )
    for tensor in inputs:
        if places and tensor.dim() and str(tensor.device) not in places:
            raise TraceError(
                f"the example lies on {tensor.device}, the model on {next(iter(places))}. "
                "Remedy: move the example to the model's device"
            )


def described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The tensors of an example by shape and type, for messages.

    >>> import torch
    >>> described((torch.zeros(2, 3),), {"mask": torch.ones(2, dtype=torch.bool)})
    '2 x 3 float32, mask 2 bool'
    """
    named = [("", value) for value in args] + [(f"{key} ", v) for key, v in kwargs.items()]
    return ", ".join(f"{name}{_shown(value)}" for name, value in named)


def _shown(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = " x ".join(map(str, value.shape)) or "scalar"
    return f"{shape} {str(value.dtype).removeprefix('torch.')}"
