"""What taking structures out would change, from shapes alone: of a network whose weights are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.result import Result
from ..structure.config import fit_config
from ..structure.coupled import trace_example
from ..structure.experts import mixtures
from ..structure.fewer_experts import fewer_experts
from ..structure.fewer_layers import fewer_layers
from ..structure.graph.remove import eager, kept_units
from ..structure.graph.replay import written
from ..structure.one_of_each import OneOfEach
from .asked import asked_for, plan_of
from .by_kind import fewer_of_each
from .experts import experts_asked
from .made import Made, sizes, tell_config


def foreseen(what: Result, example: Any, each: OneOfEach | None = None) -> list[Made]:
    """The smaller network on the meta device, in the ways it may have to be edited.

    Two where the code of its modules may hold old sizes (levels A and B): which of them computes what
    the masked network does is found by running it, block by block, by whoever has the weights.
    Unlike `shrink` nothing is proved here, and the configuration is as it was (`settled`).

    Args:
        what: the network without weights, with the targets and the units of each that stay.
        example: as for `trace`, on the meta device.
        each: the same network with one layer of each kind, where there is one: it alone is traced.
    """
    experts = experts_asked(what, None)
    if experts is not None:
        return [_without_experts(what, experts)]
    asked = asked_for(what, None, what.model, example)
    if not asked.traces:
        small, edits, lost = fewer_layers(what.model, asked.layers)
        level = "B" if edits.attributes else "A"
        facts = {"level": level, "exact": all(asked.layers.values())}
        return [Made(small, dict.fromkeys(asked.layers, ()), edits, lost, facts=facts)]
    found = fewer_of_each(what, asked, each) if each is not None else None
    made = found or list(_fewer_units(what, asked, example))
    return made[:1] if made[0].edits == made[1].edits else made


def _without_experts(what: Result, keep: dict[str, list[int]]) -> Made:
    small, edits = fewer_experts(what.model, keep)
    counts = {m.experts: m.count for m in mixtures(what.model)}
    units = {name: [len(stay), counts[name]] for name, stay in keep.items()}
    facts = {"level": "B" if edits.attributes else "A", "exact": False, "units": units}
    kept = {name: tuple(stay) for name, stay in keep.items()}
    return Made(small, kept, edits, facts=facts)


def _fewer_units(what: Result, asked: Any, example: Any) -> Iterator[Made]:
    traced = trace_example(what.model, example, "shrink")
    plan = plan_of(asked, traced, what.model)
    kept, found = kept_units(plan), traced.inference
    for level, own in (("A", False), ("B", True)):
        small, attributes = eager(what.model, found, kept, own)
        edits = written(what.model, found, plan, kept, attributes.changes)
        names = {axis.name: tuple(units) for axis, units in plan.items()}
        facts = {"level": level, "exact": all(axis.exact for axis in plan)}
        facts["macs"] = [traced.macs(), traced.macs(kept)]
        yield Made(small, names, edits, plan=plan, facts=facts)


def settled(stock: Any, made: Made, example: Any) -> None:
    """Tell the smaller network's configuration what the stock class has to know, as far as shapes say."""
    if any(key in made.kept for key in (m.experts for m in mixtures(stock))):
        made.fit = fit_config(made.module, made.module)
        return
    fit = fit_config(stock, made.module, sizes(made.edits), made.lost)
    tell_config(stock, made, fit, example)
