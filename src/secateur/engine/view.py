"""What the axes look at while a model is pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from ..core.cost import Costs
from ..core.errors import NumberError, PlanError
from ..core.finite import check_weight, finite
from ..core.random import generator
from ..core.trial import Trial
from ..core.types import Groups, Scores, Target, element_masks, keep_all
from ..structure.prunable import prunable

Stats = Mapping[str, Mapping[str, Tensor]]
"""Statistic name -> parameter name -> tensor."""


class ModelView:
    """A whole model: its weights, masks and the statistics collected for this update.

    Args:
        model: the network; only `write` changes its weights.
        targets: what may be pruned.
        masks: current mask of each target (None = everything is kept).
        stats: the collected statistics.
        seed, round: what `generator` derives its streams from.
        every: targets of the whole model, where `targets` are those of one block.
        surveyed: what the allocator said of all blocks, where they are pruned one by one.
        learned: what a gate has learned of each target's units.
        costs: what the network costs by the units that stay.
        progress: share of all updates that are done after this one.
        trial: makes what tries budgets on the run's data; None where that cannot be done.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: tuple[Target, ...],
        masks: Mapping[str, Tensor] | None = None,
        stats: Stats | None = None,
        seed: int = 0,
        round: int = 0,
        every: tuple[Target, ...] = (),
        surveyed: Mapping[str, Sequence[float]] | None = None,
        learned: Mapping[str, Tensor] | None = None,
        costs: Costs | None = None,
        progress: float = 1.0,
        trial: Callable[[Scores, Groups], Trial] | None = None,
    ) -> None:
        self.targets = targets
        self.every = every or targets
        self.surveyed: Mapping[str, Sequence[float]] = surveyed or {}
        self.learned: Mapping[str, Tensor] = learned or {}
        self.progress = progress
        self._trial = trial
        self.costs: Costs = costs if costs is not None else {}
        self._params = self._parameters(model)
        own = (m.param for t in targets for m in t.members)  # what is no weight has no members
        device = self._params[next(own, next(iter(self._params)))].device
        self.masks: Mapping[str, Tensor] = masks if masks is not None else keep_all(targets, device)
        self._stats = stats or {}
        self._words = (seed, round)
        self._alive: dict[str, Tensor] | None = None
        self.notes: dict[str, dict[str, object]] = {}
        """Target -> what criteria and solvers have said of it."""
        self._model = model

    def _parameters(self, model: nn.Module) -> dict[str, Tensor]:
        return dict(model.named_parameters())

    def weight(self, param: str) -> Tensor:
        """The parameter's current value, detached; NaN or infinite values are refused."""
        value = self._params[param].detach()
        if not value.is_meta:
            check_weight(param, value)
        return value

    @cached_property
    def _dims(self) -> dict[str, tuple[str, ...]]:
        return {weight.name: weight.dims for weight in prunable(self._model)}

    def dims(self, param: str) -> tuple[str, ...]:
        """What each dimension of a weight is; named free parameters count as `out`, `in`, `k`."""
        shape = self._params[param].shape
        return self._dims.get(param, ("out", "in", *["k"] * (len(shape) - 2)))

    def note(self, target: str, **facts: object) -> None:
        """Remember something about a target for the record."""
        self.notes.setdefault(target, {}).update(facts)

    def write(self, param: str, value: Tensor) -> None:
        """Give a parameter new values; NaN, infinite values and another shape are refused."""
        held = self._params[param]
        if value.shape != held.shape or not finite(value):
            raise NumberError(
                f"new values of '{param}' have shape {tuple(value.shape)} (it has "
                f"{tuple(held.shape)}) or are not finite; the old ones stay"
            )
        with torch.no_grad():
            held.copy_(value)

    def alive(self, param: str) -> Tensor:
        """Bool mask of the parameter's elements as the current masks have it."""
        if self._alive is None:
            shapes = {name: p.shape for name, p in self._params.items()}
            self._alive = element_masks(self.targets, self.masks, shapes)
        return self._alive[param]

    def stat(self, name: str, param: str) -> Tensor:
        """A collected statistic of one parameter."""
        if name not in self._stats:
            raise PlanError(
                f"statistic '{name}' of '{param}' was not collected: name it in `needs`"
            )
        if param not in self._stats[name]:
            raise PlanError(
                f"statistic '{name}' of '{param}' was not collected: the network does not call its layer as "
                "a module on one input, or all of its samples are padding. Take a method that judges by "
                "weights or gradients (`secateur methods`; where `importance` is an option, 'magnitude'), or "
                f"leave it out: exclude='{param}'"
            )
        return self._stats[name][param]

    def generator(self, *words: object) -> torch.Generator:
        """A CPU generator for `words`, the same for equal seed and round."""
        return generator(*self._words, *words)

    def trial(self, scores: Scores, groups: Groups) -> Trial:
        """Tries budgets for units of these scores."""
        if self._trial is None:
            raise PlanError(
                "candidates are tried while a whole network is pruned at once on data; here is an "
                "allocator needed that goes by sizes or scores"
            )
        return self._trial(scores, groups)
