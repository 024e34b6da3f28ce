"""Pruning and regrowing while the network trains."""

from __future__ import annotations

from ..allocation import Erk, Uniform
from ..core.axes import Criterion
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Gradient, Magnitude, Random
from ..schedule import Cubic, Regrow
from ..scope import Tensorwise
from ..structure import Weights


@method(
    "gradual-magnitude",
    family="while training",
    paper="To prune, or not to prune: exploring the efficacy of pruning for model compression",
    authors="Zhu & Gupta",
    year=2017,
    arxiv="1710.01878",
)
def gradual_magnitude(
    density: float = 0.1,
    begin: str = "0it",
    end: str = "75%",
    every: str = "1ep",
    classifier: bool = False,
) -> Recipe:
    """Remove small weights along a cubic ramp while the network trains.

    s_t = s_f + (s_i − s_f)(1 − (t − t_0) / (t_n − t_0))³. The paper prunes each layer to the same
    sparsity; so does this.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=Cubic(density=density, begin=begin, end=end, every=every),
    )


def _regrowing(
    grow: Criterion, density: float, every: str, end: str, drop: float, classifier: bool,
    initial: float | None = None,
) -> Recipe:  # fmt: skip
    """A random sparse start whose weakest weights move elsewhere again and again."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=Erk(),
        schedule=Regrow(density=density, every=every, end=end, drop=drop, initial=initial),
        start=Random(),
        grow=grow,
    )


@method(
    "set",
    family="while training",
    paper="Scalable training of artificial neural networks with adaptive sparse connectivity "
    "inspired by network science",
    authors="Mocanu et al.",
    year=2018,
    arxiv="1707.04780",
)
def set_(
    density: float = 0.1,
    every: str = "100it",
    end: str = "75%",
    drop: float = 0.3,
    classifier: bool = False,
) -> Recipe:
    """Sparse training: drop the smallest weights, grow as many at random places.

    The same recipe as RigL but for one field, `grow`. The paper drops the weights closest to zero
    on either side, after every epoch (`every="1ep"`) and at a constant share; the share here
    anneals as RigL's does.
    """
    return _regrowing(Random(), density, every, end, drop, classifier)


@method(
    "rigl",
    family="while training",
    paper="Rigging the Lottery: Making All Tickets Winners",
    authors="Evci et al.",
    year=2020,
    arxiv="1911.11134",
)
def rigl(
    density: float = 0.1,
    every: str = "100it",
    end: str = "75%",
    drop: float = 0.3,
    classifier: bool = False,
) -> Recipe:
    """Sparse training: drop the smallest weights, grow where the dense gradient is largest.

    Grown weights start at zero; the share dropped follows drop/2 · (1 + cos(π t / t_end)).
    """
    return _regrowing(Gradient(), density, every, end, drop, classifier)


@method(
    "granet",
    family="while training",
    paper="Sparse Training via Boosting Pruning Plasticity with Neuroregeneration",
    authors="Liu et al.",
    year=2021,
    arxiv="2106.10404",
)
def granet(
    density: float = 0.1,
    initial: float = 0.5,
    every: str = "100it",
    end: str = "75%",
    drop: float = 0.5,
    classifier: bool = False,
) -> Recipe:
    """RigL that begins denser and thins out on a cubic ramp: prune, then regrow where gradients are large.

    d_t = d_f + (d_i − d_f)(1 − t / t_end)³ from d_i = `initial`; at each step the weights above d_t go, and
    the share drop/2 · (1 + cos(π t / t_end)) more moves to the largest dense gradients. Every layer thins
    out in proportion to what it holds.
    """
    return _regrowing(Gradient(), density, every, end, drop, classifier, initial)
