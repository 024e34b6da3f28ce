"""A pressure at work: its gradient is added to that of the loss at every step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ...core.cost import Cost, Counts
from ...core.random import generator
from ...core.training import Pressure
from ...core.types import Target
from ...materialise.hard_masks import HardMasks


class Prices:
    """What one more unit of each target costs, by how many of all are there.

    Args:
        cost: of the network by its units.
        targets: what is priced.
    """

    def __init__(self, cost: Cost, targets: tuple[Target, ...]) -> None:
        self._cost = cost
        self._known: dict[str, dict[str, float]] = {}
        whole = {t.name: t.units for t in targets}
        units = sum(whole.values())
        saved = self._saved(whole)
        self._mean = sum(saved[name] * n for name, n in whole.items()) / units

    def __call__(self, there: Counts) -> dict[str, float]:
        """Target -> what its last unit adds, over the mean of all units in the whole network."""
        key = str(sorted(there.items()))
        if key not in self._known:  # one state is remembered: it seldom changes from step to step
            self._known = {key: {n: v / self._mean for n, v in self._saved(there).items()}}
        return self._known[key]

    def _saved(self, there: Counts) -> dict[str, float]:
        """Of a target with nothing left: what its first unit would add."""
        some = {name: max(n, 1) for name, n in there.items()}
        less = {name: some[name] - 1 for name in there}
        return {
            name: self._cost({**there, name: some[name]}) - self._cost({**there, name: less[name]})
            for name in there
        }


class Push:
    """Adds a pressure's gradient to `.grad`, as a pure function of weights, step and what it decided.

    Args:
        model: whose parameters are pushed; those that do not train are left alone.
        pressure, targets: what pushes, and what it pushes.
        steps: of the whole training, which progress is counted by.
        masks: what they prune is not pushed.
        counts: target -> units that will stay, for a pressure that foresees it.
        cost: what a pressure that weighs units is to go by.
        words: seed and stage, what a pressure that draws draws from.
    """

    def __init__(
        self,
        model: nn.Module,
        pressure: Pressure,
        targets: tuple[Target, ...],
        steps: int,
        masks: HardMasks | None,
        counts: Counts | None = None,
        words: tuple[int, str] = (0, "train"),
        cost: Cost | None = None,
    ) -> None:
        self.pressure, self.targets, self.masks = pressure, targets, masks
        self.counts, self._words = counts, words
        self._prices = Prices(cost, targets) if cost is not None else None
        self.decided: dict[str, Tensor] = {}
        self._params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._every = dict(model.named_parameters())
        self._last = max(steps - 1, 1)

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Push at optimiser step `step`, counted from 0."""
        begin = self.pressure.begin
        progress = (step / self._last - begin) / (1 - begin)
        if progress < 0:
            return
        weights = {name: p.detach() for name, p in self._every.items()}
        if self._prices is not None:
            prices = self._prices(self.pressure.there(weights, self.targets))
            self.decided = {name: torch.tensor(price) for name, price in prices.items()}
        elif not self.decided:
            seed, stage = self._words
            draw = partial(generator, seed, "pressure", stage)
            self.decided = self.pressure.start(weights, self.targets, self.counts, draw)
        added = self.pressure.gradient(weights, self.targets, min(progress, 1.0), self.decided)
        keep = self.masks.masks if self.masks is not None else {}
        for name in added.keys() & self._params.keys():
            value = torch.where(keep[name], added[name], 0) if name in keep else added[name]
            param = self._params[name]
            param.grad = (
                value.to(param.dtype, copy=True) if param.grad is None else param.grad.add_(value)
            )

    def resume(self, decided: Mapping[str, Tensor]) -> None:
        """Take up what an earlier process decided."""
        device = next(iter(self._every.values())).device
        self.decided = {name: value.to(device) for name, value in decided.items()}
