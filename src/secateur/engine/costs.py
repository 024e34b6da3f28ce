"""What a network costs when only some units stay: counts, and milliseconds measured end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from functools import cached_property
from typing import Any

from torch import nn

from ..core.axes import Cost, Counts, Structure
from ..core.errors import PlanError, unknown
from ..structure.graph import Trace
from ..structure.graph.sizes import bytes_left, parameters_left
from ..structure.graph.terms import Var

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
}
