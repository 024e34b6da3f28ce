"""Depth pruning of language models: whole layers go."""

from __future__ import annotations

from typing import Literal

from ..allocation import Contiguous, Uniform
from ..core.axes import Allocator, Criterion, Scope
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import BlockInfluence, CoupledTaylor, LossDifference
from ..schedule import OneShot
from ..scope import Model, Tensorwise
from ..structure import Layers, Protected
from .llm_structured import adapters


def fewer_layers(
    criterion: Criterion, density: float, contiguous: bool, first: int = 0, last: int = 0
) -> Recipe:
    """Layers compete with each other, one by one or as one stretch of neighbours."""
    scope: Scope = Tensorwise() if contiguous else Model()
    allocator: Allocator = Contiguous() if contiguous else Uniform()
    structure = Protected(inner=Layers(), first=first, last=last) if first or last else Layers()
    return Recipe(
        structure=structure,
        criterion=criterion,
        scope=scope,
        allocator=allocator,
        schedule=OneShot(density=density),
    )


@method(
    "shortgpt",
    family="language models",
    paper="ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
    authors="Men et al.",
    year=2024,
    arxiv="2403.03853",
)
def shortgpt(density: float = 0.75, contiguous: bool = False) -> Recipe:
    """Take out the layers that hardly turn what flows through them.

    BI_l = 1 − mean over tokens of cos(x_in, x_out), of the residual stream before and after layer l;
    the layers of smallest BI go, `density` is the fraction that stays. `contiguous` takes the
    stretch of neighbouring layers with the smallest sum of BI instead. No gradients, no training.
    All are scored once, on the whole network. Masked, a layer is the identity; `secateur.shrink`
    takes it out and the configuration says the new depth.
    """
    return fewer_layers(BlockInfluence(), density, contiguous)


@method(
    "shortened-llama",
    family="language models",
    paper="Shortened LLaMA: Depth Pruning for Large Language Models",
    authors="Kim et al.",
    year=2024,
    arxiv="2402.02834",
)
def shortened_llama(
    density: float = 0.75,
    importance: Literal["perplexity", "taylor"] = "perplexity",
    contiguous: bool = False,
    first: int | None = None,
    last: int | None = None,
    lora: str | None = None,
    rank: int = 8,
) -> Recipe:
    """Take out the layers without which perplexity rises least, measured or to first order.

    `perplexity`: s_l = L(without layer l) − L, the order of the perplexities exp L; one pass over the
    data for each layer. `taylor`: s_l = Σ |w g| over all weights of the layer, g the gradient of the
    mean loss. All layers are scored once, and those of lowest score go (`contiguous`: the stretch of
    neighbours with the lowest sum). The `first` and `last` layers stay; by default 4 and 2 with
    `taylor`, as the paper's Taylor+ has it, and none with `perplexity`. The paper trains adapters of
    rank 8 afterwards: `lora` is for how long, `rank` of what rank.
    """
    taylor = importance == "taylor"
    criterion: Criterion = CoupledTaylor(order="first") if taylor else LossDifference()
    ends = [4 if first is None else first, 2 if last is None else last] if taylor else []
    lowest, highest = ends or [first or 0, last or 0]
    recipe = fewer_layers(criterion, density, contiguous, lowest, highest)
    return recipe.model_copy(update={"recovery": adapters(lora, rank)})
