"""Axes: what of a network can go: name, kind, where it lies, what it costs, whether it goes exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from torch import nn

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.kinds import Facts, describe, facts_of
from secateur.structure.graph.op import Cost
from secateur.structure.graph.positions import Kept, Strided, kept_size, places
from secateur.structure.graph.terms import Fix, Var, free, reason, walk


@dataclass(frozen=True)
class Slice:
    """Where the units of an axis lie in one dimension of one tensor."""

    tensor: str
    dim: int
    places: tuple[Strided, ...]


@dataclass(frozen=True, eq=False)
class Axis:
    """One coupled structure.

    Attributes:
        name: the layer that writes it first, e.g. `layer1.0.conv1`.
        kind: `channels`, `neurons`, `heads`, `head width`, `groups`, `residual width`, `rope`, …
        units: how many there are.
        members: every tensor slice the units own, in the order of use.
        exact: whether removing a unit equals zeroing it; `why` says what prevents that.
        mends: whether normalisations that keep dividing by the old count make it exact.
        default: whether it is pruned when nothing is said; `note` says why not, or what to mind.
        parameters: elements of parameters one unit takes along.
        macs: multiplications one unit takes along, at the example.
        constants: arguments of the graph that follow it.
    """

    name: str
    kind: str
    units: int
    members: tuple[Slice, ...]
    exact: bool
    why: str
    mends: bool
    default: bool
    note: str
    parameters: int
    macs: int
    constants: tuple[str, ...]
    var: Var

    def __repr__(self) -> str:
        return f"Axis({self.name}, {self.kind}, {self.units})"


@dataclass(frozen=True)
class Frozen:
    """A dimension of a tensor that keeps some of its size, and why."""

    tensor: str
    dim: int
    size: int
    why: str


def axes_of(found: Inference) -> list[Axis]:
    """Every axis with a parameter in use, in the order of the graph."""
    members = _members(found)
    facts = facts_of(found)
    costs = _costs_by_axis(found)
    taken: dict[str, int] = {}
    out = []
    for var, slices in members.items():
        if any(_is_used_parameter(found, s.tensor) for s in slices):
            out.append(_axis(found, var, slices, facts, costs[var], taken))
    return out


def _members(found: Inference) -> dict[Var, list[Slice]]:
    members: dict[Var, list[Slice]] = defaultdict(list)
    for tensor in _in_order_of_use(found):
        for dim, term in enumerate(found.terms[tensor]):
            for var in free(term):
                members[var].append(Slice(tensor, dim, tuple(places(term, var))))
    return members


def _in_order_of_use(found: Inference) -> list[str]:
    """Tensor names by the first node that reads them; twins count once, unread tensors last."""
    order = {node: i for i, node in enumerate(found.captured.graph.nodes)}
    first: dict[str, int] = {}
    for node in order:
        name = str(node.target)
        if node.op == "get_attr" and name in found.terms:
            first[name] = min((order[user] for user in node.users), default=len(order))
    seen: set[tuple[str, ...]] = set()
    out = []
    for name in sorted(first, key=first.__getitem__):
        if found.captured.twins[name] not in seen:
            seen.add(found.captured.twins[name])
            out.append(name)
    return out


def _is_used_parameter(found: Inference, tensor: str) -> bool:
    used = any(
        node.users
        for node in found.captured.graph.nodes
        if node.op == "get_attr" and str(node.target) in found.captured.twins[tensor]
    )
    return used and isinstance(found.captured.tensors[tensor], nn.Parameter)


def _costs_by_axis(found: Inference) -> dict[Var, list[Cost]]:
    out: dict[Var, list[Cost]] = defaultdict(list)
    for cost in found.costs:
        for var in {v for term in cost.terms for v in free(term)}:
            out[var].append(cost)
    return out


def macs_of(costs: list[Cost], kept: Kept | None = None) -> int:
    """Multiplications of contractions when only `kept` units stay."""
    return sum(prod(kept_size(term, kept or {}) for term in cost.terms) for cost in costs)


def _axis(
    found: Inference,
    var: Var,
    slices: list[Slice],
    facts: Facts,
    costs: list[Cost],
    taken: dict[str, int],
) -> Axis:
    inexact = [(note.why, note.mends) for note in found.inexact if var in free(note.term)]
    name, kind, default, note = describe(
        var, facts, [s.tensor for s in slices], [w for w, _ in inexact]
    )
    taken[name] = taken.get(name, 0) + 1
    one_less: Mapping[Var, np.ndarray] = {var: np.arange(var.size - 1)}
    return Axis(
        name=name if taken[name] == 1 else f"{name}#{taken[name]}",
        kind=kind,
        units=var.size,
        members=tuple(slices),
        exact=not inexact,
        why=", ".join(dict.fromkeys(why for why, _ in inexact)),
        mends=all(mends for _, mends in inexact),
        default=default,
        note=note,
        parameters=_parameters(found, slices, one_less),
        macs=macs_of(costs) - macs_of(costs, one_less),
        constants=tuple(dict.fromkeys(facts.constants.get(var, ()))),
        var=var,
    )


def _parameters(found: Inference, slices: list[Slice], one_less: Kept) -> int:
    total = 0
    for tensor in {s.tensor for s in slices}:
        if isinstance(found.captured.tensors[tensor], nn.Parameter):
            dims = found.terms[tensor]
            total += prod(kept_size(t, {}) for t in dims) - prod(
                kept_size(t, one_less) for t in dims
            )
    return total


def frozen_of(found: Inference) -> list[Frozen]:
    """Every dimension of a parameter with a frozen factor, and the first reason for it."""
    out = []
    for tensor, dims in found.terms.items():
        if not isinstance(found.captured.tensors[tensor], nn.Parameter):
            continue
        for dim, term in enumerate(dims):
            stuck = [leaf for leaf in walk(term) if isinstance(leaf, Fix)]
            if stuck:
                out.append(
                    Frozen(tensor, dim, kept_size(term, {}), reason(term) or "no reason recorded")
                )
    return out
