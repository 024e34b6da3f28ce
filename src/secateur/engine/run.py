"""The state of one run: model, masks, place in the program, points so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..core.types import Masks, Target, element_masks, keep_all
from ..materialise import HardMasks
from . import collect
from .at_run_time import AtRunTime
from .begin import begin
from .carried import carried, let_go
from .chosen import targets_of
from .coding import check_coding
from .costs import Costs
from .program import Train, build, check_teacher
from .store import MemoryStore, Store
from .train import Trainer, Training

log = logging.getLogger(__name__)

Loss = Callable[[nn.Module, Any], Tensor]
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Setting:
    """Everything a run needs beside the recipe and the model.

    Attributes:
        training: how to train; None where nothing is trained.
        trained: whether the network comes with trained weights: the main training is skipped
            unless the method works during it, and batch norms use their running statistics wherever
            scores are taken.
        train: stage -> batches with `steps_per_epoch` and `epoch(e, start)`.
        scoring: re-iterable batches for statistics.
        val, test: batches to evaluate on, or None.
        loss: (model, batch) -> scalar, for statistics.
        example: input for tracing and MACs; the batch size does not matter.
        fresh: seed -> newly initialised model, for recoveries that begin anew.
        seed: all randomness of the run.
        on_collapse: `report`, or `error` when a selection cuts a layer off.
        checkpoint_seconds: how often to checkpoint while training; 0 = at every step.
        accelerator: a prepared `accelerate.Accelerator`, or None for the model's own device.
    """

    training: Training | None = None
    trained: bool = False
    train: Callable[[str], Any] | None = None
    scoring: Iterable[Any] | None = None
    val: Any = None
    test: Any = None
    loss: Loss | None = None
    example: Any = None
    fresh: Callable[[int], nn.Module] | None = None
    seed: int = 0
    on_collapse: Literal["report", "error"] = "report"
    checkpoint_seconds: float = 30.0
    accelerator: Any = None

    def without_evaluation(self) -> Setting:
        """The same setting for a run that only prunes."""
        return replace(self, val=None, test=None, training=None, train=None)

    def lengths(self) -> tuple[int, int]:
        """(steps per epoch, steps of the main training); zeros without training."""
        if self.train is None or self.training is None:
            return 0, 0
        per_epoch = self.train("dense").steps_per_epoch
        return per_epoch, self.training.total(per_epoch)


@dataclass
class Place:
    """Where a run is and what it has measured: all of it is plain data.

    Attributes:
        at: index of the current operation.
        inside: training steps of it that are done.
        seconds: time spent by earlier processes.
        points, log: evaluations and training epochs so far.
        trained: stage of training -> how many parameters it trains.
        budget: cost that the allocator looks at -> what the network takes whole and pruned.
        multiple: the measured one that widths are rounded to, where the recipe leaves it open.
        drawn: of every drawing of masks, its step and how far they were from those before.
        settled: the step whose masks have settled; None before that.
        searched: of every search for how many units stay where, what it took and gained.
    """

    at: int = 0
    inside: int = 0
    seconds: float = 0.0
    points: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    trained: dict[str, int] = field(default_factory=dict)
    budget: dict[str, dict[str, Any]] = field(default_factory=dict)
    multiple: int | None = None
    drawn: list[dict[str, Any]] = field(default_factory=list)
    settled: int | None = None
    searched: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One run of a recipe on a model, which is changed in place.

    Args:
        recipe: the method.
        model: the network.
        setting: data, training, seed.
        store: where states are kept; in memory by default.
        shared: a store of dense training states that runs of one configuration share, or None.
        progress: called with a small dict after every epoch, update and evaluation.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        setting: Setting,
        store: Store | None = None,
        shared: Store | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.recipe, self.model, self.setting = recipe, model, setting
        self.store: Store = store if store is not None else MemoryStore()
        self.shared = shared
        self.tell: Progress = progress or (lambda event: None)
        self.place = Place()
        self._has_statistics = any(map(_has_statistics, model.modules()))
        self.ops = build(recipe, *setting.lengths(), setting.trained)
        if setting.training is not None and setting.training.distil is not None:
            check_teacher(self.ops, recipe)
        begin(model, recipe, setting)
        if recipe.basis is not None:
            recipe.basis.rewrite(model, self._observe, recipe.schedule.final_density)
        self.targets: tuple[Target, ...] = targets_of(recipe, model, setting.example)
        if recipe.solver is not None and recipe.solver.prepare(model, self.targets):
            self.targets = targets_of(recipe, model, setting.example)  # with what was added
        self.costs = Costs(recipe.structure, model, setting.example, self.targets)
        self.recipe = recipe = recipe.settled(self._multiple)
        groups, density = recipe.scope.groups(self.targets), recipe.schedule.final_density
        recipe.allocator.check(groups, density, self.targets, self.costs)
        for part in (recipe.pressure, recipe.gate):
            if part is not None:
                part.check(self.targets)
        check_coding(model, recipe)
        self.at_run_time: AtRunTime | None = None
        """What decides for every input, where the recipe has no masks but wrappers."""
        if isinstance(recipe.materialise, RunTime):
            self.at_run_time = AtRunTime(recipe, model, self.targets, setting.example, setting.seed)
            self.targets = self.at_run_time.targets
        self.carried = carried(model, recipe)
        """Masks that the network came with, where they hold: the recipe says so, or only trains it."""
        if told := let_go(model, recipe):
            log.warning("%s", told)
        self.masks = self._whole()
        self.hard = HardMasks(model, self.elements())
        self.drawn: list[Masks] = []
        """The masks drawn last, oldest first, while none has settled yet."""
        self.followed: dict[str, Tensor] = {}
        """Target -> what a criterion that looks on while the network trains knows of its units."""
        self.trainer: Trainer | None = None
        self.trainable = [n for n, p in model.named_parameters() if p.requires_grad]
        self.cut: list[str] = []
        """Layers that the newest masks cut off."""
        self._started = time.monotonic()

    def _multiple(self) -> int:
        """Measured once for a run, however often it is killed."""
        saved = self.store.latest()
        known = saved.meta["place"].get("multiple") if saved is not None else None
        self.place.multiple = self.costs.multiple() if known is None else int(known)
        return self.place.multiple

    def _observe(self, names: Iterable[str], params: Iterable[str]) -> Mapping[str, Any]:
        """Statistics of the network as it stands, on the run's data."""
        setting = self.setting
        return collect.collect(
            self.model, names, params, setting.scoring, setting.loss, seed=setting.seed,
            batch_statistics=self.batch_statistics,
        )  # fmt: skip

    @cached_property
    def _shapes(self) -> Mapping[str, torch.Size]:
        return {name: p.shape for name, p in self.model.named_parameters()}

    def _whole(self) -> dict[str, Tensor]:
        """All units, but those of which the network comes with nothing."""
        masks = keep_all(self.targets, next(self.model.parameters()).device)
        for target in self.targets:
            if target.members and all(m.param in self.carried for m in target.members):
                parts = [m.layout.matrix(self.carried[m.param]).any(1) for m in target.members]
                masks[target.name] = torch.stack(parts).any(0).view(target.shape)
        return masks

    def elements(self) -> dict[str, Tensor]:
        """The current masks as masks of parameters; none where units are chosen for every input."""
        if self.at_run_time is not None:
            return {}
        masks = self.elements_of(self.masks)
        return {**masks, **{n: masks.get(n, held) & held for n, held in self.carried.items()}}

    def elements_of(self, masks: Masks) -> dict[str, Tensor]:
        """Masks of the units as masks of parameters."""
        return element_masks(self.targets, masks, self._shapes)

    @property
    def meant(self) -> set[str]:
        """Layers that went because one unit was all of them (a residual block): no collapse."""
        gone = [t for t in self.targets if t.units == 1 and not bool(self.masks[t.name].any())]
        return {m.param.rpartition(".")[0] for target in gone for m in target.members}

    @property
    def trained(self) -> bool:
        """Whether the main training lies behind: the network came trained, or it is done."""
        main = [i for i, op in enumerate(self.ops) if isinstance(op, Train) and op.stage == "dense"]
        return self.setting.trained or (bool(main) and main[-1] < self.place.at)

    @property
    def batch_statistics(self) -> bool:
        """Whether scores are taken with the batch's statistics: running ones would mean nothing."""
        return not (self.trained or self._has_statistics)

    def mask_weights(self) -> None:
        """Bring weights, gradients and optimiser moments in line with the masks."""
        optimizer = self.trainer.optimizer if self.trainer is not None else None
        self.hard.update(self.elements(), optimizer=optimizer)

    @property
    def density(self) -> float:
        """Kept units over all units; where they are chosen for every input, those that it has at most."""
        if self.at_run_time is not None:
            return self.at_run_time.density
        kept = sum(int(m.sum()) for m in self.masks.values())
        return kept / sum(m.numel() for m in self.masks.values())

    def cost(self, what: str, last: bool = True) -> dict[str, Any]:
        """What the network takes of one thing: whole, with what the masks keep, measured at the last."""
        cost = self.costs[what]
        counts = {name: int(mask.sum()) for name, mask in self.masks.items()}
        left, measured = cost(counts), cost.measured(counts) if last else None
        told = {"unit": cost.unit, "whole": cost.whole, "left": left}
        return told if measured is None else {**told, "predicted": left, "left": measured}

    @property
    def seconds(self) -> float:
        """Time spent on the run, over all its processes."""
        return self.place.seconds + time.monotonic() - self._started

    def state(self) -> dict[str, Tensor]:
        """The model's state dict."""
        return dict(self.model.state_dict())


def _has_statistics(module: nn.Module) -> bool:
    """Whether it is a batch norm whose running statistics have seen batches."""
    seen = getattr(module, "num_batches_tracked", None)
    return isinstance(module, _NormBase) and seen is not None and int(seen) > 0
