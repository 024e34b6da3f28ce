"""The last stage of a run: what is left of the weights takes few values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ..core.errors import PlanError
from ..core.finite import check_weight
from ..core.names import pick
from ..core.precision import Dims, Precision
from ..core.recipe import Recipe
from ..structure.prunable import computed_weights, no_change, prunable
from .train.coded import Coded

if TYPE_CHECKING:
    from .run import Run


def coded_weights(model: nn.Module, precision: Precision) -> dict[str, Dims]:
    """Name -> dimensions of what is coded: weights of layers, but tied tables and what it excludes."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    weights = {w.name: w for w in prunable(model) if id(w.tensor) not in tables}
    computed = computed_weights(model)
    left_out = set(pick(precision.exclude, [*weights, *computed]))
    if left := [name for name in computed if name not in left_out]:
        instead = f"leave it as it is: in the recipe, the precision's exclude=({left[0]!r},)"
        raise PlanError(no_change(left, "few values in it", instead))
    dims = {name: weight.dims for name, weight in weights.items() if name not in left_out}
    if not dims:
        raise PlanError(
            f"precision '{precision.name}' codes the weights of linear layers and convolutions, and none "
            "is left here; exclude less"
        )
    precision.check({name: weights[name].tensor for name in dims}, dims)
    return dims


def check_coding(model: nn.Module, recipe: Recipe) -> None:
    """Refuse, before anything is done, a network of which nothing can be coded."""
    if recipe.precision is not None:
        coded_weights(model, recipe.precision)


def coder(run: Run) -> Coded:
    """The run's precision at the beginning of its stage."""
    precision = run.recipe.precision
    assert precision is not None
    dims = coded_weights(run.model, precision)
    for name in dims:
        check_weight(name, run.model.get_parameter(name).detach())
    return Coded(run.model, precision, dims, run.elements(), run.setting.seed)


def code(run: Run) -> None:
    """Leave coded weights for good: those that were trained, or those of the weights as they are."""
    trained: Any = run.trainer.gated if run.trainer is not None else None
    (trained if isinstance(trained, Coded) else coder(run)).settle()
    run.trainer = None
    run.mask_weights()
    run.tell({"kind": "coded", "precision": str(run.recipe.precision)})
