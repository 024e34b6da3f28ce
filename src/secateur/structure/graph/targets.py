"""Axes as targets: what scores, masks and budgets speak of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod

from torch import fx

from secateur.core.layout import Layout
from secateur.core.names import layer_at
from secateur.core.types import Member, Target
from secateur.structure.graph.axes import Axis
from secateur.structure.graph.cuts import equal_cuts
from secateur.structure.graph.positions import Strided
from secateur.structure.graph.terms import Var, free
from secateur.structure.graph.trace import Trace


def targets_of(traced: Trace, axes: Iterable[Axis] | None = None) -> tuple[Target, ...]:
    """One target for each axis (those on by default when none are named), with its parameters and buffers.

    >>> import torch
    >>> from secateur.structure.graph import trace
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 2))
    >>> (target,) = targets_of(trace(net, (torch.zeros(2, 3),)))
    >>> target.name, target.units, [m.param for m in target.members]
    ('0', 8, ['0.weight', '0.bias', '1.weight'])
    """
    chosen = [a for a in traced.axes if a.default] if axes is None else axes
    readers, cuts = _readers(traced), equal_cuts(traced.inference)
    names: dict[object, str] = {axis.var: axis.name for axis in traced.axes}
    even = {a: tuple(names.get(other, "") for other in cuts.get(a.var, ())) for a in chosen}
    return tuple(_target(traced, axis, readers[axis.var], even[axis]) for axis in chosen)


def _readers(traced: Trace) -> Mapping[Var, set[str]]:
    """Axis -> the tensors whose layers sum over it, and do not write it themselves."""
    out: dict[Var, set[str]] = defaultdict(set)
    for cost in traced.inference.costs:
        if cost.weight is not None:
            written = {var for term in cost.out for var in free(term)}
            tensors = _tensors(cost.weight)
            for var in {var for term in cost.inner for var in free(term)} - written:
                out[var] |= tensors
    return out


def _tensors(node: fx.Node) -> set[str]:
    """The tensors a weight is made of: itself, or what it is a view of."""
    found: set[str] = set()
    layer = [node]
    while layer:
        found |= {str(n.target) for n in layer if n.op == "get_attr"}
        layer = [source for n in layer for source in n.all_input_nodes if n.op != "get_attr"]
    return found


def _target(traced: Trace, axis: Axis, readers: set[str], even: tuple[str, ...]) -> Target:
    captured = traced.inference.captured
    tensors = captured.tensors
    members = tuple(
        Member(part.tensor, layout, part.dim if readers & {*captured.twins[part.tensor]} else None)
        for part in axis.members
        for place in part.places
        for layout in layouts(tuple(tensors[part.tensor].shape), part.dim, place, axis.units)
    )
    layer = layer_at(axis.members[0].tensor.rpartition(".")[0])
    return Target(
        axis.name, axis.kind, (axis.units,), members, exact=axis.exact, layer=layer, even=even
    )


def layouts(shape: Sequence[int], dim: int, place: Strided, units: int) -> Iterator[Layout]:
    """Views [units, ...] of the slices at one place; several where the repeats are not evenly packed."""
    loops = sorted(
        [(place.stride, units, True), *((s, n, False) for n, s in place.repeats)], reverse=True
    )
    packed = _packed(loops)
    inner = loops[len(loops) - packed :]
    length = prod(n for _, n, _ in inner)
    outer = loops[: len(loops) - packed]
    for steps in product(*(range(n) for _, n, _ in outer)):
        start = place.offset + sum(i * s for i, (s, _, _) in zip(steps, outer, strict=True))
        counts = tuple(n for _, n, _ in inner)
        unit = dim + [is_unit for _, _, is_unit in inner].index(True)
        split = (*shape[:dim], *counts, *shape[dim + 1 :])
        rest = tuple(d for d in range(len(split)) if d != unit)
        whole = length == shape[dim]
        yield Layout(split, (unit, *rest), 1, None if whole else (dim, start, length))


def _packed(loops: list[tuple[int, int, bool]]) -> int:
    """How many loops, from the innermost on, run over neighbouring positions without a gap."""
    reach, count = 1, 0
    for stride, n, _ in reversed(loops):
        if stride != reach:
            break
        reach, count = reach * n, count + 1
    return count
