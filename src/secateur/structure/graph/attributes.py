"""Level B: the integers a module's own code holds, found from the constants of the graph.

A constant of the graph that follows an axis was an attribute of a module or of its configuration, or made of
several. Where the capture saw which, they are solved for (`equations`). For the rest, attributes named in the
source line of the operator come first, then all of that value which the code of the class mentions. What is
set is verified afterwards against the edited graph, never trusted.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any, cast

from torch import fx, nn

from secateur.structure.graph.equations import Owner, arguments_of, owners_of, solve
from secateur.structure.graph.heads import attentions, heads_left
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Patch, base_name
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
    out, solved = Attributes(), solve(found, kept)
    wanted: dict[tuple[str, str], Any] = {}
    for patch in found.patches:
        path = owners_of(patch.node)
        if _follows_by_itself(patch, kept):
            continue
        for argument, term in arguments_of(patch):
            old, new = size(term), kept_size(term, kept)
            if old == new:
                continue
            out.owners.append(path[0])
            if argument in solved.explained:
                continue
            names = _holders(model, path, patch.node, old) if patch.kind != "scale" else []
            if not names:
                out.unexplained.append(path[0])
            for key in names:
                if wanted.setdefault(key, (old, new)) != (old, new):
                    out.unexplained.append(path[0])
    out.unexplained += [owners_of(node)[0] for node in solved.wrong]
    values = _solved(model, solved.values)
    for (module, attribute), (old, new) in wanted.items():
        held = getattr(model.get_submodule(module), attribute)
        values.setdefault((module, attribute), (held, _swapped(held, old, new)))
    out.changes = [Change(*key, old, new) for key, (old, new) in values.items() if old != new]
    _settle_heads(out, model, found, kept)
    return out


def _settle_heads(out: Attributes, model: nn.Module, found: Inference, kept: Kept) -> None:
    """Of torch's attention nothing need be guessed: its heads are known, its widths are its tensors'."""
    known = attentions(model)
    out.changes = [change for change in out.changes if change.module not in known]
    out.unexplained = [owner for owner in out.unexplained if owner not in known]
    heads = heads_left(model, found, kept)
    out.changes += [Change(name, "num_heads", old, new) for name, old, new in heads]


def _follows_by_itself(patch: Patch, kept: Kept) -> bool:
    """Whether the code cuts into a number of equal pieces, and they still are equal."""
    sizes = [kept_size(term, kept) for term in patch.terms]
    return base_name(patch.node).endswith("chunk") and len(set(sizes)) == 1


def _solved(
    model: nn.Module, values: Mapping[Owner, int]
) -> dict[tuple[str, str], tuple[Any, Any]]:
    """(module, attribute) -> what it holds and what it has to hold, entries of lists put together."""
    out: dict[tuple[str, str], tuple[Any, Any]] = {}
    for (module, attribute, index), value in values.items():
        held = attrgetter(attribute)(model.get_submodule(module))
        old, new = out.get((module, attribute), (held, held))
        if index is not None:
            value = type(held)([value if i == index else v for i, v in enumerate(new)])
        out[module, attribute] = (old, value)
    return out


def apply_attributes(model: nn.Module, changes: list[Change]) -> None:
    """Set the attributes."""
    for change in changes:
        owner, name = to_set(model, change.module, change.attribute)
        setattr(owner, name, change.new)


def holds(model: nn.Module, change: Change) -> bool:
    """Whether an attribute has its new value already."""
    return bool(attrgetter(change.attribute)(model.get_submodule(change.module)) == change.new)


def to_set(model: nn.Module, module: str, attribute: str) -> tuple[Any, str]:
    """The object that holds an attribute, and its name there; `config.heads` is one of a configuration.

    Modules share their network's configuration. Below the network itself a module gets one of its own:
    what is set is true of that module alone.
    """
    owner: Any = model.get_submodule(module)
    *way, name = attribute.split(".")
    for part in way:
        inner = getattr(owner, part)
        if module:
            inner = copy.copy(inner)
            setattr(owner, part, inner)
        owner = inner
    return owner, name


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
