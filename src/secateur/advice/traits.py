"""What a recipe takes out and what it asks for, read off its axes: no method is named here."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..engine.collect.statistics import Reads, reads
from ..engine.program import build, why_trained
from .need import Takes

ORDER: tuple[Reads, ...] = ("nothing", "inputs", "labels")


@dataclass(frozen=True)
class Traits:
    """What matters of a recipe to somebody who has to choose.

    Attributes:
        takes: what goes.
        reads: the most that its scores and its solver read of the data.
        trains: whether it prunes only while, or trains only after, it is given a training.
        begins: whether it has to begin with an untrained network.
        carries: whether it has to begin with one that carries masks.
    """

    takes: Takes
    reads: Reads
    trains: bool
    begins: bool
    carries: bool


def traits_of(recipe: Recipe) -> Traits:
    """The traits of a recipe.

    >>> import secateur as sc
    >>> traits_of(sc.recipe("wanda"))
    Traits(takes='weights', reads='inputs', trains=False, begins=False, carries=False)
    >>> traits_of(sc.recipe("lottery-ticket"))
    Traits(takes='weights', reads='nothing', trains=True, begins=True, carries=False)
    """
    structure = recipe.structure
    units = structure.traces or structure.saves
    pattern = recipe.scope.fixed_density is not None
    return Traits(
        takes="units" if units else "patterns" if pattern else "weights",
        reads=_reads(recipe),
        trains=bool(why_trained(recipe)),
        begins=_refused_when_trained(recipe) or recipe.initial is not None,
        carries=recipe.carried,
    )


def _reads(recipe: Recipe) -> Reads:
    """The most that anything in it reads of the data; trials and what calibrates do, too."""
    found = [reads(name) for name in recipe.observed()]
    trials: Reads = "labels" if recipe.allocator.labelled else "inputs"
    least: Reads = trials if recipe.allocator.tries else "nothing"
    if isinstance(recipe.materialise, RunTime) and recipe.materialise.calibrates:
        least = max(least, "inputs", key=ORDER.index)
    return max([least, *found], key=ORDER.index)


def _refused_when_trained(recipe: Recipe) -> bool:
    """Whether no run on a network that comes trained can be made of it."""
    try:
        build(recipe, 1, 10, trained=True)
    except PlanError:
        return True
    return False
