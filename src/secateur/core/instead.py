"""A module called with other tensors in the place of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call_with(
    module: nn.Module,
    values: Mapping[str, Tensor],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """What `module(*args, **kwargs)` gives with `values` instead of its parameters and buffers.

    Tied tensors are replaced together, whichever of their names is given. The module is as before
    afterwards, also where it holds one layer under two names: `torch.func.functional_call` replaces such
    a tensor twice and then puts the replacement back.

    >>> import torch
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> twice = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)})
    >>> twice.forward = lambda x: twice["b"](x)
    >>> call_with(twice, {"a.weight": torch.tensor([[1.0, 2.0]])}, (torch.tensor([3.0, 4.0]),))
    tensor([11.])
    >>> twice["a"].weight is layer.weight and isinstance(layer.weight, nn.Parameter)
    True
    """
    places = _one_name_each(module, values)
    return functional_call(module, places, tuple(args), dict(kwargs or {}), tie_weights=False)


def _one_name_each(module: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values under one name for each layer that holds one of the tensors."""
    own = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    given = {id(tensor): values[name] for name, tensor in own if name in values}
    places: dict[tuple[int, str], str] = {}
    for name, tensor in own:
        if id(tensor) in given:
            layer, _, attribute = name.rpartition(".")
            places.setdefault((id(module.get_submodule(layer)), attribute), name)
    tensors = dict(own)
    return {name: given[id(tensors[name])] for name in places.values()}
