"""What a recipe would do to a model, before a weight is touched."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core.density import describe, keep_count
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..core.types import Groups, Target
from .at_run_time import check
from .carried import let_go
from .chosen import targets_of
from .coding import check_coding
from .collect.statistics import reads
from .costs import Costs
from .program import why_trained


@dataclass(frozen=True)
class Plan:
    """Targets, groups and budgets of a recipe on a model.

    Attributes:
        recipe: the method.
        targets: what may be pruned.
        groups: who would be compared with whom.
        left_out: weights of the same kind that stay dense, by name.
        parameters: of the whole model.
        told: what else there is to know before a weight is touched, a line each.
    """

    recipe: Recipe
    targets: tuple[Target, ...]
    groups: Groups
    left_out: tuple[str, ...]
    parameters: int
    told: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Units that may be pruned."""
        return sum(t.units for t in self.targets)

    @property
    def keep(self) -> int | None:
        """Units that stay at the end; None where the allocator finds the density."""
        density = self.recipe.schedule.final_density
        return None if density is None else keep_count(density, self.units)

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        recipe, density = self.recipe, self.recipe.schedule.final_density
        yield f"method {recipe.method}: {recipe.structure}, {recipe.criterion}, scope {recipe.scope}"
        if recipe.basis is not None:
            yield f"basis {recipe.basis}"
        yield f"allocation {recipe.allocator}, schedule {recipe.schedule}"
        if recipe.tuning is not None:
            yield f"tuning {recipe.tuning}"
        yield f"recovery {recipe.recovery or 'none'}"
        if recipe.precision is not None:
            yield f"precision {recipe.precision}"
        yield choosing(recipe)
        yield training(recipe)
        yield (
            f"{len(self.targets)} targets, {self.units:,} units of {self.parameters:,} parameters, "
            f"{len(self.groups.size):,} groups"
        )
        if absent := self.recipe.structure.absent(self.targets):
            yield nothing_of(absent)
        yield (
            f"final {describe(density)}: {self.keep:,} units stay" if density else "density: found"
        )
        if self.left_out:
            yield f"left dense: {', '.join(self.left_out)}"
        yield from self.told

    def __str__(self) -> str:
        return "\n".join(self.lines())


def choosing(recipe: Recipe) -> str:
    """What data the choice of what goes rests on."""
    if isinstance(recipe.materialise, RunTime):
        said = f"what goes is chosen for every input while the network runs ({recipe.materialise})"
        return said + ("; how much is set on data" if recipe.materialise.calibrates else "")
    if recipe.criterion.of_training:
        return f"choosing what goes rests on what the training tells ({recipe.criterion})"
    names = recipe.looks_at()
    labels = {"labels": " with labels", "inputs": "; labels are not read"}
    read = {reads(name) for name in recipe.observed()}
    read |= (
        {"labels" if recipe.allocator.labelled else "inputs"} if recipe.allocator.tries else set()
    )
    kind = next((labels[what] for what in labels if what in read), None)
    what = f" ({', '.join(names)})" if names else ""
    return f"choosing what goes needs {'no data' if kind is None else f'data{kind}'}{what}"


def training(recipe: Recipe) -> str:
    """Whether a training must be given, and what for."""
    if why := why_trained(recipe):
        return f"training must be given, and data to train on: {why}"
    return "training is not needed"


def nothing_of(absent: Iterable[str]) -> str:
    """What to say of kinds that a network has none of."""
    return f"no {', no '.join(absent)} to choose from in this network; these were passed over"


def make_plan(
    model: nn.Module,
    recipe: Recipe,
    example: Any = None,
    targets: tuple[Target, ...] | None = None,
    told: str = "",
) -> Plan:
    """The plan of `recipe` on `model`; raises what the run would raise before it begins.

    Its targets are looked for, unless they are given. `told`: what is known of the recipe beside it.
    """
    lines = tuple(line for line in (told, let_go(model, recipe)) if line)
    if recipe.basis is not None:
        model = copy.deepcopy(model)
        recipe.basis.rewrite(model, None)
    if targets is None:
        targets = targets_of(recipe, model, example)
    touched = {member.param for target in targets for member in target.members}
    weights = {n: p for n, p in model.named_parameters() if p.dim() >= 2}
    left = tuple(name for name in weights if name not in touched)
    total = sum(p.numel() for p in model.parameters())
    groups = recipe.scope.groups(targets)
    costs = Costs(recipe.structure, model, example, targets)
    recipe = recipe.settled(costs.multiple)
    recipe.allocator.check(groups, recipe.schedule.final_density, targets, costs)
    for part in (recipe.pressure, recipe.gate):
        if part is not None:
            part.check(targets)
    check_coding(model, recipe)
    check(recipe, model, targets, example)
    return Plan(recipe, targets, groups, left, total, lines)
