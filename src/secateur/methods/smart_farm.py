"""The smart-farm study's pruning: neurons and heads of language models by what they do on its questions."""

from __future__ import annotations

from typing import Literal

from ..allocation import Bounded, ModelWide, Uniform
from ..core.axes import Allocator, Criterion
from ..core.cards import method
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import LayerScale, Magnitude, Relative, SmartFarm, Taylor
from ..schedule import OneShot
from ..scope import Tensorwise
from ..structure import Coupled
from .basic import fine_tuning

KINDS: dict[str, tuple[str, ...]] = {
    "ffn": ("neurons",),
    "attention": ("heads",),
    "query-heads": ("query heads",),
    "both": ("neurons", "heads"),
}
"""What may go -> the kinds of coupled structures; `heads` are key-value groups with their queries."""

Prune = Literal["ffn", "attention", "query-heads", "both"]
Importance = Literal["activation", "gradient", "magnitude"]


@method("smart-farm", family="language models")
def smart_farm(
    density: float = 0.75,
    prune: Prune = "ffn",
    importance: Importance = "activation",
    mean: float | None = None,
    largest: float | None = None,
    active: float | None = None,
    threshold: float | None = None,
    early: float = 1.0,
    middle: float = 1.0,
    late: float = 1.0,
    cap: float = 1.0,
    floor: float = 1,
    equal: bool = False,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the neurons of a language model that hardly act on the questions it will be asked.

    s_u = c_l (w_mean mean|a_u| / max_v mean|a_v| + w_max max|a_u| / max_v max|a_v| + w_act P(|a_u| > t)),
    with a_u the input of the down projection, over all tokens but padding, v the neurons of the same
    layer, c_l `early`, `middle` or `late` by the third of the depth; `mean`, `largest`, `active` are
    the weights (0.7, 0.2, 0.1) and `threshold` is t (0.01). All neurons are ranked together; no layer
    loses more than `cap` of its own nor keeps fewer than `floor` (a number, or a fraction below 1), and
    what these withhold is taken elsewhere, so that the total is exact. `prune` says what goes: `ffn`
    neurons, `attention` (key-value groups with their queries), `both` (each kind its share), or
    `query-heads` for models with one key-value head. `equal` keeps the same share of every layer
    instead of ranking them together, so that loaders which read one width for all layers take the
    result (choose a density that is a whole number of units). `importance` judges by activation, by
    `gradient` (Σ |w| E|g| over everything a unit owns) or by `magnitude` (Σ |w|), the last two relative
    to the layer's mean. `density` is the fraction of units kept.

    A method of this project, made for tomato greenhouses; related: Muralidharan et al. 2024, arXiv
    2407.14679.
    """
    weights = {"mean": mean, "largest": largest, "active": active, "threshold": threshold}
    criterion = _criterion(importance, {k: v for k, v in weights.items() if v is not None})
    if (early, middle, late) != (1, 1, 1):
        if equal:
            raise PlanError(
                "layer scales weigh layers against each other; `equal` would ignore them"
            )
        criterion = LayerScale(inner=criterion, early=early, middle=middle, late=late)
    if prune not in KINDS:
        raise PlanError(f"prune '{prune}' is none of {', '.join(KINDS)}")
    return Recipe(
        structure=Coupled(kinds=KINDS[prune]),
        criterion=criterion,
        scope=Tensorwise(),
        allocator=_allocator(floor, cap, prune == "both", equal),
        schedule=OneShot(density=density),
        recovery=fine_tuning(fine_tune, lr_scale),
    )


def _allocator(floor: float, cap: float, by_kind: bool, equal: bool) -> Allocator:
    """How many of each layer."""
    if not equal:
        return ModelWide(floor=floor, cap=cap, by_kind=by_kind)
    return Bounded(inner=Uniform(), floor=floor, cap=cap) if floor or cap < 1 else Uniform()


def _criterion(importance: str, weights: dict[str, float]) -> Criterion:
    """The importance of a unit within its layer."""
    if importance == "activation":
        return SmartFarm(**weights)
    if weights:
        raise PlanError(
            f"{', '.join(weights)} weigh activations; importance '{importance}' would ignore them"
        )
    if importance == "gradient":
        return Relative(inner=Taylor(order="absolute"))
    if importance == "magnitude":
        return Relative(inner=Magnitude())
    raise PlanError(f"importance '{importance}' is none of activation, gradient, magnitude")
