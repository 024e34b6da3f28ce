"""Level B: the integers a module's own code holds, found from the constants of the graph.

A constant of the graph that follows an axis was some attribute of the module it was traced in, or of a module
around it. Attributes named in the source line of the operator come first, then all of that value which the
code of the class mentions. What is set is verified afterwards against the edited graph, never trusted.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from torch import fx, nn

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Patch
from secateur.structure.graph.positions import Kept, kept_size
from secateur.structure.graph.terms import size


@dataclass(frozen=True)
class Change:
    """An attribute of a module and its values before and after."""

    module: str
    attribute: str
    old: Any
    new: Any


@dataclass
class Attributes:
    """Which attributes to change, and the modules with a constant that none explains."""

    changes: list[Change] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)


def infer_attributes(model: nn.Module, found: Inference, kept: Kept) -> Attributes:
    """Match every changed constant of the graph with attributes of the modules around it."""
    out = Attributes()
    wanted: dict[tuple[str, str], Any] = {}
    for patch in found.patches:
        path = owners_of(patch.node)
        for old, new in changed(patch, kept):
            out.owners.append(path[0])
            names = _holders(model, path, patch.node, old) if patch.kind != "scale" else []
            if not names:
                out.unexplained.append(path[0])
            for key in names:
                if wanted.setdefault(key, (old, new)) != (old, new):
                    out.unexplained.append(path[0])
    for (module, attribute), (old, new) in wanted.items():
        held = getattr(model.get_submodule(module), attribute)
        out.changes.append(Change(module, attribute, held, _swapped(held, old, new)))
    return out


def apply_attributes(model: nn.Module, changes: list[Change]) -> None:
    """Set the attributes."""
    for change in changes:
        setattr(model.get_submodule(change.module), change.attribute, change.new)


def changed(patch: Patch, kept: Kept) -> Iterator[tuple[int, int]]:
    """(old, new) for every size of a patch that changes."""
    for term in patch.terms:
        old, new = size(term), kept_size(term, kept)
        if old != new:
            yield old, new


def owners_of(node: fx.Node) -> list[str]:
    """The modules a node was traced in, innermost first; the root is the empty name."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name).split("@")[0] for name, _ in stack.values()]
    return names[::-1] or [""]


def _holders(model: nn.Module, path: list[str], node: fx.Node, old: int) -> list[tuple[str, str]]:
    lines = _source_lines(node)
    for name in path:
        try:
            module = model.get_submodule(name)
        except AttributeError:
            continue  # a module list entered by index has no node of its own
        read = _mentioned(cast(Any, type(module)))
        held = [a for a, v in vars(module).items() if _holds(v, old) and a in read]
        named = [a for a in held if any(f"self.{a}" in line for line in lines)]
        if held:
            return [(name, a) for a in named or held]
    return []


def _holds(value: Any, old: int) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value == old
    return isinstance(value, list | tuple) and any(type(v) is int and v == old for v in value)


def _swapped(value: Any, old: int, new: int) -> Any:
    if isinstance(value, int):
        return new
    return type(value)(new if type(v) is int and v == old else v for v in value)


def _source_lines(node: fx.Node) -> list[str]:
    return [
        line for line in str(node.meta.get("stack_trace") or "").splitlines() if "self." in line
    ]


@cache
def _mentioned(kind: Any) -> frozenset[str]:
    """Attributes of `self` that the code of a class reads."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base in (nn.Module, object):
            continue
        try:
            names.update(re.findall(r"self\.(\w+)", inspect.getsource(base)))
        except (OSError, TypeError):
            continue  # built without source: nothing can be read off it
    return frozenset(names)
