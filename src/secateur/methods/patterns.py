"""Kernels of a few shapes."""

from __future__ import annotations

from ..allocation import Uniform, Widths
from ..core.cards import method
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import Pattern
from ..schedule import OneShot
from ..scope import Tensorwise
from ..structure import Weights
from .basic import fine_tuning

PLACES = 9


@method(
    "patterns",
    family="after training",
    paper="PatDNN: Achieving Real-Time DNN Execution on Mobile Devices with Pattern-based Weight Pruning",
    authors="Niu et al.",
    year=2020,
    arxiv="2001.00138",
)
def patterns(
    density: float | None = None,
    entries: int = 4,
    count: int = 8,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Keep in every 3 × 3 kernel one of a few patterns of weights, and drop the weakest kernels.

    The dictionary: each kernel's centre and its `entries` − 1 largest other weights are its natural pattern;
    the `count` most frequent of the network are kept (6 to 8 in the paper). Each kernel takes the one
    that holds most of its Σ w². `density` is the fraction of all weights of 3 × 3 kernels that stays: up to
    entries / 9, the default, every kernel stays; below, the kernels with the least Σ w² over their pattern
    go whole (connectivity pruning), the same share of every layer. Other layers stay dense.

    As in PCONV (Ma et al. 2020, arXiv 1909.05073), whose patterns are chosen by hand for what they do
    to pictures. Both papers train towards the patterns by ADMM before they prune, which is not here: the
    network is projected at once, and `fine_tune` trains what is left. The papers prune the first layer's
    kernels less than others'. How the dictionary is found was checked against descriptions of the paper,
    not its text. No kernel of this library runs faster for it: that is the papers' compiler.
    """
    if not 2 <= entries < PLACES:
        raise PlanError(
            f"a pattern has 2 to {PLACES - 1} of {PLACES} weights, not entries={entries}"
        )
    most = entries / PLACES
    if density is not None and density > most + 1e-9:
        raise PlanError(
            f"patterns of {entries} weights keep at most {most:.4g} of 3 × 3 kernels, not "
            f"density={density:g}; ask for less, or for more entries"
        )
    return Recipe(
        structure=Weights(kernel=3, classifier=classifier),
        criterion=Pattern(entries=entries, count=count),
        scope=Tensorwise(),
        allocator=Widths(inner=Uniform(), round_to=entries),
        schedule=OneShot(density=most if density is None else density),
        recovery=fine_tuning(fine_tune, lr_scale),
    )
