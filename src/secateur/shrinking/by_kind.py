"""What taking units out of equal layers would change, from a network with one layer of each kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.edits import Change, Edits, Kept
from ..core.result import Result
from ..structure.fewer_layers import twin
from ..structure.graph import Axis, Trace
from ..structure.graph.axes import macs_of
from ..structure.graph.infer import layer_of
from ..structure.graph.op import Cost
from ..structure.graph.remove import eager, kept_units
from ..structure.graph.replay import replay, written
from ..structure.one_of_each import OneOfEach, renamed
from .asked import Asked, plan_of
from .made import Made

Round = Mapping[str, str]
"""Layer of the small network -> the layer of the whole one whose turn it is."""


def fewer_of_each(what: Result, asked: Asked, each: OneOfEach) -> list[Made] | None:
    """As `foreseen`, for units that lie in layers; None where something outside of them would follow.

    The small network is traced once. Layer after layer its units are those that stay of one layer of
    the whole network; what is cut and set then is said of that layer.
    """
    traced, home = each.traced, each.axes(each.traced.axes)
    if not set(asked.keep) <= {axis.name for axis in home}:
        return None
    plan = plan_of(asked, replace(traced, axes=tuple(home)), what.model)
    rounds = [
        (names, kept_units({axis: plan[axis] for axis in plan if home[axis] in names.values()}))
        for names in each.rounds()
    ]
    made = []
    for level, own in (("A", False), ("B", True)):
        said = [_said(each, traced, names, kept, own) for names, kept in rounds]
        if any(edits is None for edits in said):
            return None
        edits = _together(each, [edits for edits in said if edits is not None])
        small = replay(twin(what.model), edits)
        facts = {"level": level, "exact": all(axis.exact for axis in plan)}
        facts["macs"] = [_macs(each, traced, {}), _macs(each, traced, _by_layer(plan, home))]
        units = {axis.name: tuple(stay) for axis, stay in plan.items()}
        made.append(Made(small, units, edits, plan=plan, facts=facts))
    return made


def _said(
    each: OneOfEach, traced: Trace, names: Round, kept: Any, own: bool
) -> dict[str, Edits] | None:
    """Layer of the whole network -> what is cut and set in it; None where more is."""
    _, attributes = eager(each.model, traced.inference, kept, own)
    edits = written(each.model, traced.inference, {}, kept, attributes.changes)
    tensors: dict[str, dict[str, Mapping[int, Kept]]] = defaultdict(dict)
    changes: dict[str, list[Change]] = defaultdict(list)
    for name, cuts in edits.tensors.items():
        if (home := each.home([name])) is None or home not in names:
            return None
        tensors[names[home]][renamed(name, home, names[home])] = cuts
    for change in edits.attributes:
        if (home := each.home([change.module])) is None or home not in names:
            return None
        module = renamed(change.module, home, names[home])
        changes[names[home]].append(change.model_copy(update={"module": module}))
    return {
        layer: Edits(tensors=tensors[layer], attributes=tuple(changes[layer]))
        for layer in names.values()
    }


def _together(each: OneOfEach, said: list[dict[str, Edits]]) -> Edits:
    """The edits of all layers, in the order of the network."""
    by_layer = {layer: edits for one in said for layer, edits in one.items()}
    ordered = [by_layer[layer] for layer in each.layers]
    tensors = {name: cuts for edits in ordered for name, cuts in edits.tensors.items()}
    return Edits(tensors=tensors, attributes=tuple(c for e in ordered for c in e.attributes))


def _by_layer(plan: Mapping[Axis, Any], home: Mapping[Axis, str]) -> dict[str, Any]:
    """Layer of the whole network -> the units of its axes that stay."""
    mine: dict[str, dict[Axis, Any]] = defaultdict(dict)
    for axis, units in plan.items():
        mine[home[axis]][axis] = units
    return {layer: kept_units(axes) for layer, axes in mine.items()}


def _macs(each: OneOfEach, traced: Trace, kept: Mapping[str, Any]) -> int:
    """Multiplications of the whole network: of every layer those of its kind."""
    costs: dict[str | None, list[Cost]] = defaultdict(list)
    for cost in traced.inference.costs:
        costs[each.home([layer_of(cost.node)])].append(cost)
    layers = (macs_of(costs[own], kept.get(layer)) for layer, own in each.layers.items())
    return macs_of(costs[None]) + sum(layers)
