"""What a recipe takes out and what it asks for, read off its axes: no method is named here."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..engine.collect.statistics import Reads, reads
from ..engine.program import build
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
        reads=max((reads(name) for name in recipe.observed()), key=ORDER.index, default="nothing"),
        trains=_refused(recipe, total=0, trained=False),
        begins=_refused(recipe, total=10, trained=True) or recipe.initial is not None,
        carries=recipe.carried,
    )


def _refused(recipe: Recipe, total: int, trained: bool) -> bool:
    """Whether a run with so much training cannot be made of it."""
    try:
        build(recipe, 1 if total else 0, total, trained)
    except PlanError:
        return True
    return False
