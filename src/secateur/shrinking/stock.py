"""Plans that the stock class can be built for, and the nearest one where a plan is not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import nn

from ..core.errors import PlanError, SecateurError
from ..structure.graph import Axis
from .asked import Plan
from .made import Made, make

NEAR = 2
"""Units more or fewer that are tried one by one."""
DIVISORS = 4
"""Divisors of the number of units that are tried beyond these."""


def insist_on_stock(stock: nn.Module, made: Made, example: Any, norms: bool = False) -> None:
    """Refuse a network that the stock class does not build from any configuration."""
    if not made.fit.why:
        return
    near = nearest_plan(made, lambda plan: _permitted(stock, made, plan, example, norms))
    said = (
        f"the nearest permitted plan found keeps {_counts(made.plan, near)}"
        if near
        else "no plan near it is permitted; leave out loadable='stock', or keep these structures whole"
    )
    raise PlanError(
        f"the stock {type(stock).__name__} cannot be this network: {made.fit.why}; {said}"
    )


def nearest_plan(made: Made, permitted: Callable[[Plan], bool]) -> Plan:
    """A permitted plan with the same number of units in every layer, empty where none is found.

    The mean of what was to stay, of structures alike but for a number; where that is refused, each
    such kind by itself, with a number of units near it, or whole.
    """
    plain = equal_counts(made)
    if not plain or permitted(plain):
        return plain
    out: Plan = {}
    for axes in _alike(made):
        units = axes[0].units
        counts = near_counts(len(plain.get(axes[0], range(units))), units)
        alone = (_with(made, axes, count) for count in counts)
        out |= next((plan for plan in alone if permitted(plan)), {})
    return out if out and permitted(out) else {}


def near_counts(count: int, units: int) -> list[int]:
    """Numbers of units to try in place of `count`: the nearest, then divisors of all there are.

    What the units divide (heads a width, groups the channels) any divisor of their number divides.

    >>> near_counts(11, 16)
    [11, 10, 12, 9, 13, 8, 4, 2, 1]
    """
    by_distance = lambda n: (abs(n - count), n)  # noqa: E731
    near = sorted(range(count - NEAR, count + NEAR + 1), key=by_distance)
    divisors = sorted((n for n in range(1, units) if not units % n), key=by_distance)
    return [n for n in dict.fromkeys([*near, *divisors[:DIVISORS]]) if 1 <= n < units]


def _with(made: Made, axes: list[Axis], count: int) -> Plan:
    """`count` units of these structures, all others whole."""
    return {axis: _closest(made.plan.get(axis), axis.units, count) for axis in axes}


def equal_counts(made: Made) -> Plan:
    """Every structure with the mean of what was to stay of those alike, whole ones included."""
    out: Plan = {}
    for axes in _alike(made):
        kept = [len(made.plan.get(axis, range(axis.units))) for axis in axes]
        count = max(1, round(sum(kept) / len(kept)))
        out |= {axis: _closest(made.plan.get(axis), axis.units, count) for axis in axes}
    return {axis: units for axis, units in out.items() if len(units) < axis.units}


def _alike(made: Made) -> list[list[Axis]]:
    """Structures alike but for a number in their names, where one of them loses units."""
    alike: dict[tuple[str, int], list[Axis]] = defaultdict(list)
    for axis in made.traced.axes if made.traced is not None else ():
        alike[re.sub(r"\d+", "*", axis.name), axis.units].append(axis)
    return [axes for axes in alike.values() if any(axis in made.plan for axis in axes)]


def _counts(asked: Plan, near: Plan) -> str:
    """What a plan keeps of every structure, those that were to lose units and stay whole included."""
    axes = dict.fromkeys([*near, *asked])
    return ", ".join(
        f"{axis.name}: {len(near[axis]) if axis in near else f'all {axis.units}'}" for axis in axes
    )


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
