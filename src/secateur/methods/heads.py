"""Attention heads."""

from __future__ import annotations

from typing import Literal

from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import ActivationTaylor, LossDifference
from .structured import coupled


@method(
    "head-pruning",
    family="structured",
    paper="Are Sixteen Heads Really Better than One?",
    authors="Michel et al.",
    year=2019,
    arxiv="1905.10650",
)
def head_pruning(
    density: float = 0.7,
    by: Literal["gradient", "loss"] = "gradient",
    kinds: tuple[str, ...] = ("heads",),
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the attention heads that matter least to the loss, over all layers; one of each stays.

    `by="gradient"`: s_h = a_h / ‖a‖₂ within a layer, a_h = mean over samples of |h(x)ᵀ ∂ℓ/∂h(x)|, the
    gradient of a gate on the head. `by="loss"`: s_h = L without head h − L, a pass over the data for
    each. Where heads share keys and values, a unit is a group with all its heads. In `rounds` steps with
    new scores each, where the paper takes a tenth of the heads at a time; it lets a layer lose every head.
    """
    criterion = ActivationTaylor() if by == "gradient" else LossDifference()
    return coupled(
        criterion, density, True, kinds, fine_tune, lr_scale, relative=False, rounds=rounds
    )
