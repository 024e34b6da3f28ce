"""What a network costs when only some units stay: counts, and milliseconds measured end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..core.axes import Cost, Counts, Structure
from ..core.errors import PlanError, unknown
from ..costing import latency_cost
from ..measure.forward import device_of
from ..measure.latency import Timer, compare_latency, processor_clock
from ..shrinking.made import make
from ..shrinking.shrink import without_masks
from ..structure.graph import Trace
from ..structure.graph.sizes import bytes_left, parameters_left
from ..structure.graph.terms import Var
from ..structure.listing import Structures

PAIRS, MOST_PAIRS, SURE = 40, 80, 0.015
"""Timed pairs of the dense and the smaller network: more while the ratio is not known to 1.5 %."""

Price = Callable[[Mapping[Var, Sized]], float]
"""Of the units that stay of each axis; an axis not named keeps all."""


class Costs(Mapping[str, Cost]):
    """The costs of one network by name, each found when it is first asked for.

    Args:
        structure: whose targets are widened and narrowed.
        model: the network, without masks.
        example: an input; MACs and milliseconds are those of the whole of it.
    """

    def __init__(self, structure: Structure, model: nn.Module, example: Any) -> None:
        self.structure, self.model, self.example = structure, model, example
        self._known: dict[str, Cost] = {}

    def __getitem__(self, what: str) -> Cost:
        if what not in PRICES:
            raise unknown("cost", what, PRICES)
        if what not in self._known:
            self._known[what] = PRICES[what](self)
        return self._known[what]

    def __iter__(self) -> Iterator[str]:
        return iter(PRICES)

    def __len__(self) -> int:
        return len(PRICES)

    @cached_property
    def traced(self) -> Trace:
        """The coupled structures, which say what goes with a unit."""
        found = self.structure.trace(self.model, self.example)
        if found is None:
            raise PlanError(
                f"units of structure '{self.structure.name}' save no work when they are masked; "
                "budgets are met by methods for whole channels, neurons or heads (`secateur methods`)"
            )
        assert isinstance(found, Trace)
        return found

    @cached_property
    def axes(self) -> dict[str, Var]:
        """Target -> the variable of its axis."""
        return {axis.name: axis.var for axis in self.traced.axes}


class Counted:
    """A cost that is exact: a count of what is left.

    Args:
        costs: of the network.
        unit: what is counted.
        price: of the units that stay.
    """

    def __init__(self, costs: Costs, unit: str, price: Price) -> None:
        self.costs, self.unit, self.price = costs, unit, price
        self.whole = float(price({}))

    def __call__(self, counts: Counts) -> float:
        """What is left when so many units of each target stay."""
        axes = self.costs.axes
        return float(self.price({axes[name]: range(n) for name, n in counts.items()}))

    def measured(self, counts: Counts) -> None:
        """None: the count is what comes out."""
        return


class Timed:
    """Milliseconds: predicted from a table of the operators' times, and measured end to end.

    A prediction times every operator at the very widths, each once: odd ones are dear. `measured`
    takes the units out of a copy and times it in turn with the network as it is: the ratio of their
    medians, times `whole`.

    Args:
        costs: of the network; a copy of it is kept as it is now.
    """

    unit = "ms"

    def __init__(self, costs: Costs) -> None:
        if costs.example is None:
            raise PlanError("a latency is that of an example; pass example=...")
        self.stock, self.example = without_masks(costs.model), costs.example
        self.traced = costs.structure.trace(self.stock, costs.example) or costs.traced
        self.axes = {axis.name: axis for axis in self.traced.axes}
        self.timer = _steady(self.stock)
        structures = Structures(self.traced)
        self.table = latency_cost(self.stock, self.example, structures, timer=self.timer)
        self.whole = self.table.dense
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, counts: Counts) -> float:
        """Milliseconds of the operators at the widths that are left."""
        return self.table({self.axes[name].var: range(n) for name, n in counts.items()})

    def measured(self, counts: Counts) -> float:
        """Milliseconds of the smaller network; equal widths are measured once."""
        key = tuple(counts[name] for name in sorted(counts))
        if key not in self._known:
            self._known[key] = self._measured(counts)
        return self._known[key]

    def _measured(self, counts: Counts) -> float:
        kept = {self.axes[name]: list(range(n)) for name, n in counts.items()}
        plan = {axis: units for axis, units in kept.items() if len(units) < axis.units}
        small = make(self.stock, self.traced, plan, {}, self.example, False, False).module
        (timed,) = compare_latency(self.stock, small, self.example, pairs=PAIRS, timer=self.timer)
        return self.whole / timed.speedup.ratio


def _steady(model: nn.Module) -> Timer | None:
    """Processor time where one thread runs, the same as the clock but for other programs' share."""
    alone = device_of(model).type == "cpu" and torch.get_num_threads() == 1
    return processor_clock if alone else None


def _macs(costs: Costs) -> Cost:
    return Counted(costs, "MACs", costs.traced.macs)  # type: ignore[arg-type]


def _parameters(costs: Costs) -> Cost:
    return Counted(costs, "parameters", parameters_left(costs.traced.inference, costs.model))


def _megabytes(costs: Costs) -> Cost:
    left = bytes_left(costs.traced.inference, costs.model)
    return Counted(costs, "MB", lambda kept: left(kept) / 1e6)


PRICES: dict[str, Callable[[Costs], Cost]] = {
    "macs": _macs,
    "parameters": _parameters,
    "megabytes": _megabytes,
    "latency": Timed,
}
