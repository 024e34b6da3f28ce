"""Taking whole layers out of their containers, with everything renumbered that counts them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core.errors import PlanError, unknown
from .graph.attributes import Change

INDEX = re.compile(r"^_?(layer|block|h)_?(idx|index|id|number|num|i)$|^(idx|index)$")
COUNT = re.compile(r"layer|block|depth")


@dataclass(frozen=True)
class Depth:
    """What one container loses: its path, how many layers it had, and the places that stay."""

    container: str
    layers: int
    stay: tuple[int, ...]


def depths(model: nn.Module, names: Iterable[str]) -> tuple[Depth, ...]:
    """The layers that go, by container; a name that is no layer of a container is refused."""
    gone: dict[str, set[str]] = defaultdict(set)
    modules = dict(model.named_modules())
    for name in names:
        path, _, key = name.rpartition(".")
        if name not in modules or not isinstance(modules[path], nn.ModuleList | nn.Sequential):
            raise unknown("layer", name, layers_of(model))
        gone[path].add(key)
    out = []
    for path, keys in gone.items():
        every = list(modules[path]._modules)
        stay = tuple(i for i, key in enumerate(every) if key not in keys)
        if not stay and isinstance(modules[path], nn.ModuleList):
            raise PlanError(
                f"'{path}' would lose all of its {len(every)} layers; at least one must stay. "
                "Raise the density, or leave a layer out by name"
            )
        out.append(Depth(path, len(every), stay))
    return tuple(out)


def layers_of(model: nn.Module) -> list[str]:
    """Paths of the modules that stand in a `ModuleList` or `Sequential`."""
    return [
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        for name, _ in module.named_children()
    ]


def drop_layers(model: nn.Module, names: Iterable[str]) -> None:
    """Take the named layers out, in place; numbered containers are numbered anew."""
    for depth in depths(model, names):
        container = model.get_submodule(depth.container)
        items = list(container._modules.items())
        kept = [items[i] for i in depth.stay]
        numbered = [name for name, _ in items] == [str(i) for i in range(len(items))]
        container._modules.clear()
        for place, (name, layer) in enumerate(kept):
            container._modules[str(place) if numbered else name] = layer


def renumbered(model: nn.Module, lost: Iterable[Depth]) -> list[Change]:
    """Attributes that number a layer or count the layers, with their values afterwards.

    Modules go by the paths they have before the layers are dropped.
    """
    out: list[Change] = []
    for depth in lost:
        keys = list(model.get_submodule(depth.container)._modules)
        for new, old in enumerate(depth.stay):
            out += _indices(model, f"{depth.container}.{keys[old]}".lstrip("."), old, new)
        out += _counts(model, depth)
    return out


def _indices(model: nn.Module, layer: str, old: int, new: int) -> list[Change]:
    """Attributes of a layer that hold its place."""
    if old == new:
        return []
    out = []
    for path, module in model.get_submodule(layer).named_modules(prefix=layer):
        for name, value in vars(module).items():
            if INDEX.search(name) and type(value) is int and value == old:
                out.append(Change(path, name, old, new))
    return out


def _counts(model: nn.Module, depth: Depth) -> list[Change]:
    """Attributes around a container that count its layers, or anywhere below, that list them."""
    around = depth.container.rpartition(".")[0]
    out = []
    for path, module in model.get_submodule(around).named_modules(prefix=around):
        for name, value in vars(module).items():
            counts = COUNT.search(name) and (path == around or not isinstance(value, int))
            if counts and (new := fewer(value, depth)) is not None:
                out.append(Change(path, name, value, new))
    return out


def fewer(value: Any, depth: Depth) -> Any:
    """A count of the layers, or a list with an entry for each, after the loss; None for other values."""
    if type(value) is int and value == depth.layers:
        return len(depth.stay)
    if isinstance(value, list | tuple) and len(value) == depth.layers:
        return type(value)(value[i] for i in depth.stay)
    return None
