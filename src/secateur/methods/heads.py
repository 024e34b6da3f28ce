"""Attention heads, and with them the neurons of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..allocation import Knapsack
from ..allocation.amounts import amount
from ..core.axes import Repair
from ..core.cards import method
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import ActivationTaylor, Fisher, LossDifference
from ..schedule import Repeat
from ..scope import Tensorwise
from ..solve import LeastSquares, Rearranged
from ..structure import Coupled
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


@method(
    "fisher-masks",
    family="structured",
    paper="A Fast Post-Training Pruning Framework for Transformers",
    authors="Kwon et al.",
    year=2022,
    arxiv="2204.09656",
)
def fisher_masks(
    budget: Mapping[str, Any] | None = None,
    kinds: tuple[str, ...] = ("heads", "neurons"),
    rearrange: bool = True,
    tune: bool = True,
) -> Recipe:
    """Choose heads and neurons by the Fisher information of their gates within a budget; no training.

    Search: s_u = ½ mean over samples of (∂ℓ/∂ξ_u)², ξ_u a gate on unit u; heads are ranked among heads,
    neurons among neurons, and of all numbers of both that meet `budget` (half of the MACs by default)
    those stay whose Σ s is largest. Rearrangement (`rearrange`): units are exchanged within a layer while
    (1 − m)ᵀ F (1 − m) falls, F the layer's block of the Fisher matrix in the dense network. Tuning
    (`tune`): layer by layer one factor for every unit that stays, such that the branch and what it is
    added to give what they gave in the dense network, by damped least squares; the factors go into
    the weights, and a layer with one beyond ±10 keeps its own.

    Here one unit of every layer stays, where the paper may empty a layer. It takes about 2,000 samples.
    The official code squares gradients of batches, solves the normal equations by LSMR, leaves the
    factors of the first layer's heads alone, and stops tuning at the first layer with a factor beyond
    ±10; its tuning of a classifier's last layer looks at the first token only. The budget there is of
    MACs or, by a table, of milliseconds; here of `macs`, `parameters` or `megabytes`.
    """
    ((what, value),) = _one(budget or {"macs": "50%"}).items()
    limit, relative = amount(what, value)
    solver: Repair | None = LeastSquares(fit="scales", aim="sum", within=10) if tune else None
    return Recipe(
        structure=Coupled(kinds=kinds),
        criterion=Fisher(),
        scope=Tensorwise(),
        allocator=Knapsack(limit=limit, what=what, relative=relative),
        schedule=Repeat(),
        solver=Rearranged(inner=solver) if rearrange else solver,
        walk="layers" if tune else "whole",
    )


def _one(budget: Mapping[str, Any]) -> Mapping[str, Any]:
    """A budget of one thing."""
    if len(budget) == 1:
        return budget
    raise PlanError(
        "a budget names one of macs, parameters and megabytes and how much stays, e.g. "
        f"{{'macs': '50%'}}; got {budget!r}"
    )
