"""A pressure at work: its gradient is added to that of the loss at every step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from ...core.cost import Counts
from ...core.random import generator
from ...core.training import Pressure
from ...core.types import Target
from ...materialise.hard_masks import HardMasks


class Push:
    """Adds a pressure's gradient to `.grad`, as a pure function of weights, step and what it decided.

    Args:
        model: whose parameters are pushed; those that do not train are left alone.
        pressure, targets: what pushes, and what it pushes.
        steps: of the whole training, which progress is counted by.
        masks: what they prune is not pushed.
        counts: target -> units that will stay, for a pressure that foresees it.
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
    ) -> None:
        self.pressure, self.targets, self.masks = pressure, targets, masks
        self.counts, self._words = counts, words
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
        if not self.decided:
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
