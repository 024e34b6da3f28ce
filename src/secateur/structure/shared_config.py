"""Configurations that modules got of their own, shared again where the network's has come to say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from ..core.edits import Change
from .depth import Depth
from .fewer_layers import new_names
from .graph.provenance import is_settings


def share_config(
    stock: nn.Module,
    small: nn.Module,
    changes: Sequence[Change],
    settings: Sequence[Change],
    lost: Sequence[Depth] = (),
) -> tuple[Change, ...]:
    """The changes that are left once modules of `small` share its configuration again; they do so then.

    Args:
        stock: the network before, whose modules share one configuration.
        small: the smaller one: a module that read a changed size there has a copy that says it.
        changes: those of modules; settings: those of the network's own configuration, carried out.
        lost: layers that are gone.
    """
    told = {(c.attribute, str(c.new)) for c in settings}
    inside = {id(part): way for way, part in _parts(getattr(stock, "config", None), "config")}
    names = new_names(stock, lost)
    own: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.module and "." in change.attribute:
            own.setdefault((change.module, change.attribute.split(".")[0]), []).append(change)
    left = list(changes)
    for (module, holder), made in own.items():
        way = inside.get(id(vars(stock.get_submodule(module)).get(holder)))
        if way is None or any((_full(way, c), str(c.new)) not in told for c in made):
            continue
        left = [c for c in left if c not in made]
        path = names.get(module, module)
        if path is not None:
            setattr(small.get_submodule(path), holder, _read(small, way))
    return tuple(left)


def _full(way: str, change: Change) -> str:
    """The attribute of a module's configuration as one of the network's."""
    return f"{way}.{change.attribute.partition('.')[2]}"


def _read(owner: Any, way: str) -> Any:
    for part in way.split("."):
        owner = getattr(owner, part)
    return owner


def _parts(config: Any, way: str) -> Iterator[tuple[str, Any]]:
    """A configuration and those inside it, with the way to each."""
    if config is None or not hasattr(config, "__dict__") or not is_settings(config):
        return
    yield way, config
    for name, value in vars(config).items():
        if way.count(".") < 2:
            yield from _parts(value, f"{way}.{name}")
