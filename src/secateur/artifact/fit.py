"""Whether a network and stored tensors belong together, and putting the one into the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import StorageError

Shape = tuple[int, ...]


_LARGEST = 1 << 30
"""Elements of a parameter that is added."""


def misfit(model: nn.Module, shapes: Mapping[str, Shape]) -> str | None:
    """The first tensor that a network lacks, has in excess or has in another shape; None: it fits."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in shapes.items():
        if name not in own:
            return f"the network has no '{name}'"
        if own[name] != tuple(shape):
            return f"'{name}' is stored as {list(shape)}, the network has {list(own[name])}"
    lacking = next((name for name in own if name not in shapes), None)
    return f"'{lacking}' is not stored" if lacking is not None else None


def added(model: nn.Module, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The stored parameters that the network has at None, e.g. a bias that compensates."""
    own = model.state_dict()
    return {name: tuple(s) for name, s in shapes.items() if name not in own and _empty(model, name)}


def add(model: nn.Module, more: Mapping[str, Shape]) -> None:
    """Give the network parameters in the places where it has None."""
    for name, shape in more.items():
        if not _empty(model, name):
            raise StorageError(f"the network has no place for '{name}'")
        if min(shape, default=0) < 0 or prod(shape) > _LARGEST:
            raise StorageError(f"'{name}' cannot have the shape {list(shape)}")
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path)._parameters[leaf] = nn.Parameter(torch.empty(shape))


def _empty(model: nn.Module, name: str) -> bool:
    path, _, leaf = name.rpartition(".")
    try:
        owner = model.get_submodule(path)
    except AttributeError:
        return False
    return leaf in owner._parameters and owner._parameters[leaf] is None


def put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Let a network whose tensors fit hold the stored ones, dtype and all.

    Those are tied that are stored as one, whether or not the network was built with them tied:
    constructors of transformers that draw no weights leave tying out.
    """
    wrong = misfit(model, {name: tuple(tensor.shape) for name, tensor in state.items()})
    if wrong:
        raise StorageError(f"the weights do not fit the network that was built: {wrong}")
    done: dict[tuple[Any, ...], Tensor] = {}
    for name, owner, leaf, held in list(_held(model)):
        if name in state:
            new = done.setdefault(_key(held, state[name]), _like(held, state[name]))
            group = owner._parameters if leaf in owner._parameters else owner._buffers
            group[leaf] = new  # type: ignore[assignment]


def _key(held: Tensor, stored: Tensor) -> tuple[Any, ...]:
    """Equal for two places that are to hold one tensor."""
    where = stored.data_ptr() or id(held)  # an empty one lies nowhere
    return where, stored.dtype, stored.shape, stored.stride(), isinstance(held, nn.Parameter)


def _held(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """(name, owner, local name, tensor) of every parameter and buffer, tied ones in every place."""
    for path, owner in model.named_modules(remove_duplicate=False):
        for leaf, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
            if tensor is not None:
                yield f"{path}.{leaf}".lstrip("."), owner, leaf, tensor


def _like(held: Tensor, stored: Tensor) -> Tensor:
    new = stored.to(held.device) if not held.is_meta else stored
    return nn.Parameter(new, held.requires_grad) if isinstance(held, nn.Parameter) else new


def unlike(model: nn.Module, other: nn.Module) -> str | None:
    """The first module by which two networks differ in kind, plain attributes or shapes; else None.

    Where there is none, and the weights are the same, both compute the same.
    """
    pairs = zip(_modules(model), _modules(other), strict=False)
    for (name, mine), (twin, theirs) in pairs:
        if name != twin or type(mine) is not type(theirs):
            return f"'{name}' is a {type(mine).__name__}"
        for attribute, value in _plain(mine).items():
            stock = _plain(theirs).get(attribute)
            if stock != value:
                return f"'{name}'.{attribute} is {value!r:.200}, not {stock!r:.200}"
    return misfit(other, {n: tuple(t.shape) for n, t in model.state_dict().items()})


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(model.named_modules(remove_duplicate=False))


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes that are numbers, words or lists of them, and the configuration."""
    found = {k: v for k, v in vars(module).items() if k[0] != "_" and k != "training" and _data(v)}
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict"):
        found["config"] = {k: v for k, v in config.to_dict().items() if k not in _SAID_ELSEWHERE}
    return found


_SAID_ELSEWHERE = ("architectures", "dtype", "_name_or_path", "transformers_version", "use_cache")


def _data(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_data, value))
    return value is None or isinstance(value, int | float | str)


def retype(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Floating tensors of the network in the precision of the stored ones of their names."""
    for name, _, _, held in list(_held(model)):
        stored = state.get(name)
        if stored is not None and stored.is_floating_point() and held.is_floating_point():
            held.data = held.data.to(stored.dtype)


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Small numbers in place of what a constructor left in memory: tracing runs the network."""
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.02)
