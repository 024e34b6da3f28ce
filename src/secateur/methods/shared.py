"""Options that every method takes beside its own: what widths may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..allocation import Widths
from ..core.cards import shared_options
from ..core.errors import PlanError
from ..core.recipe import Recipe


@shared_options("round_to", "floors", "caps", "protect")
def with_widths(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe with its numbers bounded and rounded; see allocator `widths`."""
    protect = given.get("protect", ())
    if isinstance(protect, str):
        given["protect"] = (protect,)
    if not recipe.allocator.scopes and recipe.scope.name != "tensor":
        raise PlanError(
            f"{', '.join(sorted(given))}: widths belong to layers, but this method compares by scope "
            f"'{recipe.scope.name}'; use a method for whole channels or heads (`secateur methods`)"
        )
    return Recipe(**{**dict(recipe), "allocator": Widths(inner=recipe.allocator, **given)})
