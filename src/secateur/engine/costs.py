"""What a network costs when only some units stay: counts, and milliseconds measured end to end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..core.axes import Structure
from ..core.cost import Cost, Counts
from ..core.errors import PlanError, unknown
from ..core.types import Target
from ..costing import latency_cost, sweet_spots
from ..costing.latency import seconds_of
from ..measure.forward import device_of
from ..measure.latency import Timer, compare_latency, processor_clock, timer_for
from ..shrinking.shrink import without_masks
from ..structure.listing import Structures
from .accounts import Account, Price, account_of

log = logging.getLogger(__name__)

PAIRS = 40
"""Timed pairs of the dense and the smaller network."""


class Costs(Mapping[str, Cost]):
    """The costs of one network by name, each found when it is first asked for.

    Args:
        structure: whose targets are widened and narrowed.
        model: the network, without masks.
        example: an input; MACs and milliseconds are those of the whole of it.
        targets: what may be pruned.
    """

    def __init__(
        self, structure: Structure, model: nn.Module, example: Any, targets: tuple[Target, ...]
    ) -> None:
        self.structure, self.model, self.example = structure, model, example
        self.targets = targets
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

    def multiple(self) -> int:
        """What widths the kernels of this machine like best, all structures together."""
        if not self.structure.traces or self.example is None:
            raise PlanError(
                "round_to='sweet' times channels at different widths; it needs example=... and a "
                "method for whole channels, neurons or heads"
            )
        stock = without_masks(self.model)
        found = Structures(self.structure.trace(stock, self.example))
        cost = latency_cost(stock, self.example, found, timer=_steady(stock))
        spots = sweet_spots(found, cost)
        log.info("widths are multiples of %s", spots.all)
        return spots.common

    @cached_property
    def account(self) -> Account:
        """Of the network as it is."""
        return self.of(self.model)

    def of(self, model: nn.Module) -> Account:
        """Of this network or a copy of it."""
        return account_of(self.structure, model, self.example, self.targets)


class Counted:
    """A cost that is exact: a count of what is left.

    Args:
        unit: what is counted.
        price: of the units that stay.
    """

    def __init__(self, unit: str, price: Price) -> None:
        self.unit, self.price = unit, price
        self.whole = float(price({}))

    def __call__(self, counts: Counts) -> float:
        """What is left when so many units of each target stay."""
        return float(self.price(counts))

    def measured(self, counts: Counts) -> None:
        """None: the count is what comes out."""
        return


class Timed:
    """Milliseconds: predicted from parts timed alone, and measured end to end.

    `measured` takes the units out of a copy and times it in turn with the network as it is: `whole`
    over the ratio of their medians. The parts are timed eagerly whatever the runtime, and set to
    the time of the network under it.

    Args:
        costs: of the network; a copy of it is kept as it is now.
        runtime: of `measure.runtimes.RUNTIMES`.
    """

    unit = "ms"

    def __init__(self, costs: Costs, runtime: str = "eager") -> None:
        if costs.example is None:
            raise PlanError("a latency is that of an example; pass example=...")
        self.stock, self.example = without_masks(costs.model), costs.example
        self.account, self.runtime = costs.of(self.stock), runtime
        self.timer = _steady(self.stock)
        self.whole = 1e3 * seconds_of(self.stock, self.example, self.timer, runtime=runtime)
        self.price = self.account.milliseconds(self.whole, self.timer)
        self._known: dict[tuple[int, ...], float] = {}

    def __call__(self, counts: Counts) -> float:
        """Milliseconds that are predicted for what is left."""
        return self.price(counts)

    def measured(self, counts: Counts) -> float:
        """Milliseconds of the smaller network; equal ones are measured once."""
        key = tuple(counts[name] for name in sorted(counts))
        if key not in self._known:
            small = self.account.smaller(counts)
            self._known[key] = self.whole if small is self.stock else self._compared(small)
        return self._known[key]

    def _compared(self, small: nn.Module) -> float:
        (timed,) = compare_latency(
            self.stock, small, self.example,
            pairs=PAIRS, timer=self.timer, runtimes=(self.runtime,),
        )  # fmt: skip
        return self.whole / timed.speedup.ratio


def _steady(model: nn.Module) -> Timer:
    """Processor time where one thread runs, the same as the clock but for other programs' share."""
    device = device_of(model)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return processor_clock if alone else timer_for(device)


PRICES: dict[str, Callable[[Costs], Cost]] = {
    "macs": lambda costs: Counted("MACs", costs.account.macs()),
    "parameters": lambda costs: Counted("parameters", costs.account.parameters()),
    "megabytes": lambda costs: Counted("MB", _in_millions(costs.account.bytes())),
    "latency": Timed,
    "latency under compile": lambda costs: Timed(costs, "compile"),
    "latency under onnxruntime": lambda costs: Timed(costs, "onnxruntime"),
}


def _in_millions(price: Price) -> Price:
    return lambda counts: price(counts) / 1e6
