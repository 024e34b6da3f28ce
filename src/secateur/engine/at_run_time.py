"""A run whose recipe takes nothing out, but wraps layers that choose for every input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..core.density import share
from ..core.edits import Edits
from ..core.errors import PlanError
from ..core.labelled import split
from ..core.modes import mode
from ..core.random import generator
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..core.types import Groups, Target
from ..measure.run_time import measure_run_time
from ..structure.example import arguments
from .program import Prune
from .step import budgets, score_all
from .view import ModelView

if TYPE_CHECKING:
    from .run import Setting

MEASURED = 512
"""So many inputs are looked at for what a network takes on average and at worst."""


class AtRunTime:
    """The wrappers of a run, and how many units of each target they let stay.

    Args:
        recipe: with a materialiser that works at run time.
        model: wrapped in place.
        targets: in the names it has before.
        example: an input, to see what follows what; without one that is taken on trust.
        seed: of the learned parts.

    Attributes:
        targets: in the names the network has since.
        kept: target -> units of it that stay for any one input.
    """

    def __init__(
        self, recipe: Recipe, model: nn.Module, targets: tuple[Target, ...], example: Any, seed: int
    ) -> None:
        assert isinstance(recipe.materialise, RunTime)
        self.recipe, self.by = recipe, recipe.materialise
        before = {id(p): name for name, p in model.named_parameters()}
        self.places = self.by.places(model, targets, _once(model, example))
        self.by.wrap(model, self.places, partial(generator, seed, "run-time"))
        names = {before[id(p)]: n for n, p in model.named_parameters() if id(p) in before}
        self.targets = tuple(_renamed(target, names) for target in targets)
        self.kept = {t.name: t.units for t in targets}

    @property
    def density(self) -> float:
        """Units that stay for one input over all units."""
        return sum(self.kept.values()) / sum(t.units for t in self.targets)

    @property
    def edits(self) -> Edits:
        """What was done to the network, as plain data."""
        return self.by.edits(self.places)

    def update(self, model: nn.Module, op: Prune, batches: Iterable[Any] | None) -> None:
        """Let as many units stay as the update's density and the allocator say."""
        view = ModelView(model, self.targets, progress=op.update.progress)
        groups = self.recipe.scope.groups(self.targets)
        score = partial(score_all, self.recipe.criterion, view)
        _, keep = budgets(self.recipe, view, op.update, score, groups)
        self.kept = _counts(self.targets, groups, keep)
        if empty := next((name for name, n in self.kept.items() if n == 0), None):
            raise PlanError(
                f"of '{empty}' no unit would stay at density {self.density:.3g}, for whatever input; raise "
                "the density, or set a floor"
            )
        with torch.no_grad(), mode(model, train=False):
            self.by.settle(model, self.places, self.kept, batches)

    def resume(self, kept: Mapping[str, int]) -> None:
        """Take up how many stay; the wrappers have it in their buffers."""
        self.kept = dict(kept)

    def measured(self, model: nn.Module, setting: Setting) -> dict[str, Any] | None:
        """Work on average and at worst over validation inputs, else those for scoring; None without any."""
        batches = setting.val if setting.val is not None else setting.scoring
        if batches is None:
            return None
        inputs = (split(batch)[0] for batch in batches)
        return measure_run_time(model, inputs, most=MEASURED).plain()


def check(recipe: Recipe, model: nn.Module, targets: tuple[Target, ...], example: Any) -> None:
    """Refuse targets that the recipe's wrappers could not act on."""
    if isinstance(recipe.materialise, RunTime):
        recipe.materialise.places(model, targets, _once(model, example))


def _once(model: nn.Module, example: Any) -> Any:
    """Runs the network once on the example; None without one."""
    if example is None:
        return None
    args, kwargs = arguments(example)

    def run() -> None:
        with torch.no_grad(), mode(model, train=False):
            model(*args, **kwargs)

    return run


def _counts(targets: tuple[Target, ...], groups: Groups, keep: Tensor) -> dict[str, int]:
    """Target -> units that stay; of targets with one budget, each its share."""
    if not groups.shared:
        return {t.name: int(keep[groups.first[t.name]]) for t in targets}
    sizes = torch.tensor([t.units for t in targets])
    counts = share(sizes.double(), int(keep.sum()), sizes)
    return {t.name: int(n) for t, n in zip(targets, counts, strict=True)}


def _renamed(target: Target, names: Mapping[str, str]) -> Target:
    members = tuple(replace(m, param=names.get(m.param, m.param)) for m in target.members)
    return replace(target, members=members)
