"""Densities of layers that are searched for on data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..allocation import Amc, Bounded, Evolution, Uniform
from ..core.axes import Allocator
from ..core.cards import method, shared_options
from ..core.component import from_dict
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import FirstMember, Magnitude, Wanda
from ..schedule import OneShot
from ..scope import Tensorwise
from ..solve import SparseGPT
from ..structure import Layers
from .llm_weights import pruned
from .structured import coupled


@method(
    "evopress",
    family="language models",
    paper="EvoPress: Accurate Dynamic Model Compression via Evolutionary Search",
    authors="Sieberling et al.",
    year=2025,
    arxiv="2410.14649",
)
def evopress(
    density: float | None = None,
    units: Literal["weights", "layers"] = "weights",
    reconstruct: bool = False,
    generations: int = 100,
    offspring: int = 16,
    step: float = 0.1,
) -> Recipe:
    """Search for the density of every layer: units move between layers, and outputs stay near the dense ones.

    One parent, `offspring` children a generation: in each, up to three times one layer gives up `step` of
    a mean layer's weights and another takes as many, so that the total never changes. Children are tried
    on a few samples, the best of them on more, the last against their parent, by KL(p_dense ‖ p); see
    allocator `evolution`. Weights go by Wanda, row by row; `reconstruct` takes the weights that SparseGPT
    leaves at each level, as the paper does, and keeps those of all levels visited in memory. All
    statistics are those of the dense network, where the paper's levels are made one layer after the other.

    `units="layers"` searches for the layers to take out: each switch brings one back and drops another
    (the paper drops attention and feed-forward parts apart). The whole network has to fit in memory, and
    a search costs `generations` · `offspring` and more passes over some of the calibration samples. By
    default half of the weights go, or a quarter of the layers.
    """
    allocator = Evolution(generations=generations, offspring=offspring, step=step)
    if units == "layers":
        if reconstruct:
            raise PlanError(
                "evopress: reconstruct changes the weights that stay in a layer, and with units='layers' "
                "whole layers go; leave it out"
            )
        return Recipe(
            structure=Layers(),
            criterion=Magnitude(),
            scope=Tensorwise(),
            allocator=allocator,
            schedule=OneShot(density=0.75 if density is None else density),
        )
    if units != "weights":
        raise PlanError(f"evopress searches for weights or layers, not for {units!r}")
    if reconstruct:
        return pruned(
            Magnitude(), density, None, allocator, "whole", SparseGPT(), scope=Tensorwise()
        )
    return pruned(Wanda(), density, None, allocator, "whole")


@method(
    "amc",
    family="structured",
    paper="AMC: AutoML for Model Compression and Acceleration on Mobile Devices",
    authors="He et al.",
    year=2018,
    arxiv="1802.03494",
)
def amc(
    density: float = 0.7,
    kinds: tuple[str, ...] = ("channels",),
    episodes: int = 400,
    warmup: int = 100,
    least: float = 0.2,
    reward: Literal["error", "cost"] = "error",
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Let an agent choose the width of every layer, one after the other, rewarded for accuracy at a budget.

    Give a budget, e.g. `budget={"macs": "50%"}`: no action can lead to a network beyond it. A DDPG agent
    sees a layer's sizes, its work and what is saved so far, and says which fraction of its channels stays;
    at the end of an episode the pruned network's errors on the data, which need labels, are the reward of
    all its steps. See allocator `amc`, which any method with equal shares takes (`search="amc"`). Filters
    go by the sum of their absolute weights; the official code goes by the weights that read a channel, and
    repairs them by least squares before it counts errors. Needs the extra `policy` (stable-baselines3).

    `reward="cost"` weighs errors by the logarithm of the budget's cost, and may leave less than
    the budget. A search takes `episodes` passes over all the data it is given; a few hundred samples are
    plenty. Without a budget `density` is the fraction of channels kept.
    """
    recipe = coupled(FirstMember(inner=Magnitude()), density, False, kinds, fine_tune, lr_scale)
    searched = Amc(episodes=episodes, warmup=warmup, least=least, reward=reward)
    return Recipe(**{**dict(recipe), "allocator": Bounded(inner=searched, floor=1)})


@shared_options("search")
def with_search(recipe: Recipe, own: Mapping[str, Any], search: str | Mapping[str, Any]) -> Recipe:
    """The same recipe with densities of layers that are searched for: `evolution`, or with its options.

    The network is then pruned at once, in memory, unless the method was told to walk otherwise.
    """
    allocator = from_dict(Allocator, dict(search) if isinstance(search, Mapping) else search)
    if not allocator.tries:
        raise PlanError(
            f"search names an allocator that tries candidates, such as evolution; '{allocator.name}' "
            "does not"
        )
    walk = recipe.walk if "walk" in own else "whole"
    found = _in_place_of_uniform(recipe.allocator, allocator)
    return Recipe(**{**dict(recipe), "allocator": found, "walk": walk})


def _in_place_of_uniform(old: Allocator, new: Allocator) -> Allocator:
    """The new one where layers had the same share; bounds around that stay."""
    inner = getattr(old, "inner", None)
    if isinstance(inner, Allocator):
        return type(old)(**{**dict(old), "inner": _in_place_of_uniform(inner, new)})
    if old != Uniform():
        raise PlanError(
            f"search: this method shares out by allocator '{old}', which would be left out; search with a "
            "method that gives every layer the same share"
        )
    return new
