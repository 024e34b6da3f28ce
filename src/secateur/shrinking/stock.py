"""Plans that the stock class can be built for, and the nearest one where a plan is not."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from torch import nn

from ..core.errors import PlanError, SecateurError
from ..structure.graph import Axis
from .made import Made, make


def insist_on_stock(stock: nn.Module, made: Made, example: Any, norms: bool = False) -> None:
    """Refuse a network that the stock class does not build from any configuration."""
    if not made.fit.why:
        return
    near = nearest_plan(made)
    said = (
        "no plan near it is permitted; leave out loadable='stock', or keep these structures whole"
    )
    if near and _permitted(stock, made, near, example, norms):
        counts = ", ".join(f"{axis.name}: {len(units)}" for axis, units in near.items())
        said = f"the nearest permitted plan keeps {counts}"
    raise PlanError(
        f"the stock {type(stock).__name__} cannot be this network: {made.fit.why}; {said}"
    )


def nearest_plan(made: Made) -> dict[Axis, list[int]]:
    """The same number of units in every layer: the mean, rounded, of structures alike but for a number.

    Structures of their kind that were to stay whole count with all of their units.
    """
    alike: dict[tuple[str, int], list[Axis]] = defaultdict(list)
    for axis in made.traced.axes if made.traced is not None else ():
        alike[re.sub(r"\d+", "*", axis.name), axis.units].append(axis)
    out: dict[Axis, list[int]] = {}
    for axes in alike.values():
        if any(axis in made.plan for axis in axes):
            kept = [len(made.plan.get(axis, range(axis.units))) for axis in axes]
            count = max(1, round(sum(kept) / len(kept)))
            out |= {axis: _closest(made.plan.get(axis), axis.units, count) for axis in axes}
    return {axis: units for axis, units in out.items() if len(units) < axis.units}


def _closest(kept: list[int] | None, units: int, count: int) -> list[int]:
    """`count` units, those asked for first."""
    first = list(range(units)) if kept is None else kept
    rest = [u for u in range(units) if u not in set(first)]
    return sorted([*first, *rest][:count])


def _permitted(
    stock: nn.Module, made: Made, plan: dict[Axis, list[int]], example: Any, norms: bool
) -> bool:
    layers = dict.fromkeys(made.edits.layers, True)
    try:
        return not make(stock, made.traced, plan, layers, example, norms, False).fit.why
    except SecateurError:
        return False  # not even provable: not permitted
