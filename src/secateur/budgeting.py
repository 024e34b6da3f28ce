"""From a budget in work or size to the density that meets it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

from torch import nn

from .api import Result, plan, prune, recipe
from .core.cards import METHODS
from .core.errors import PlanError
from .structural import trace
from .structure.graph.positions import kept_size
from .structure.listing import Structures

What = Literal["macs", "parameters"]


def density_for(
    model: nn.Module, method: str, budget: Mapping[What, float], example: Any, **options: Any
) -> float:
    """The largest density at which a structural method leaves at most `budget` of the dense network.

    cost(density) ≤ budget · cost(1), with cost the exact MACs at the example, products of the widths
    that are left, or the exact number of parameters; found by bisection, to a thousandth. What is
    pruned to get there is a copy, and nothing is trained: a method that trains first is refused.

    Args:
        model: a trained network; it is left as it was.
        method: a structural method with a `density`, whose units are those `secateur.trace` shows.
        budget: `{"macs": 0.5}` or `{"parameters": 0.4}`, the fraction that stays.
        example: as for `trace`; its batch does not matter.
        options: of the method, and of `prune` (`data`, `loss`, `seed`).

    >>> net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 4))
    >>> import torch
    >>> round(density_for(net, "group-norm", {"macs": 0.5}, torch.zeros(2, 4)), 2)
    0.5
    """
    what, share = _asked(budget)
    found = trace(model, example)
    dense = _cost(found, what, {})

    def cost(density: float) -> int:
        result = prune(model, method, example=example, density=density, **options)
        return _cost(found, what, _kept(found, result))

    card = METHODS.get(method)  # an unknown method is refused by `recipe`
    own = {k: v for k, v in options.items() if card is not None and k in card.options}
    planned = plan(model, recipe(method, density=1.0, **own), example)
    low, high = len(planned.targets) / planned.units, 1.0
    least = cost(low)
    if least > share * dense:
        raise PlanError(
            f"method '{method}' cannot leave {share:.0%} of the {what}: with one unit of every "
            f"structure {least / dense:.1%} are left, the closest that can be met"
        )
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= share * dense else (low, middle)
    return low


def _asked(budget: Mapping[What, float]) -> tuple[What, float]:
    """The one budget, checked."""
    if len(budget) != 1 or not set(budget) <= {"macs", "parameters"}:
        raise PlanError(
            f"a budget names one of macs, parameters; got {', '.join(budget) or 'none'}"
        )
    ((what, share),) = budget.items()
    if not 0 < share < 1:
        raise PlanError(
            f"a budget of {share} {what} is outside (0, 1); it is the fraction that stays"
        )
    return what, share


def _kept(found: Structures, result: Result) -> dict[Any, Any]:
    """Variable of an axis -> numbers of the units that stay."""
    axes = {axis.name: axis for axis in found}
    strange = [name for name in result.units if name not in axes]
    if strange:
        raise PlanError(
            f"'{strange[0]}' is no coupled structure, so that masking it saves no work; budgets are "
            "met by structural methods (`secateur methods`)"
        )
    return {axes[n].var: mask.nonzero()[:, 0].numpy() for n, mask in result.units.items()}


def _cost(found: Structures, what: What, kept: Mapping[Any, Any]) -> int:
    """Multiplications, or elements of parameters, when only `kept` units stay."""
    if what == "macs":
        return found.trace.macs(kept)
    captured, terms = found.trace.inference.captured, found.trace.inference.terms
    once = {
        captured.twins[name]: prod(kept_size(term, kept) for term in dims)
        for name, dims in terms.items()
        if isinstance(captured.tensors[name], nn.Parameter)
    }
    return sum(once.values())
