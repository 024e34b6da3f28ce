"""Pruning and regrowing while the network trains."""

from __future__ import annotations

from ..allocation import Erk, Uniform
from ..core.axes import Allocator, Criterion
from ..core.cards import method
from ..core.recipe import Recipe
from ..core.types import Across
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


def _regrowing(grow: Criterion, schedule: Regrow, allocator: Allocator, classifier: bool) -> Recipe:
    """A random sparse start whose weakest weights move elsewhere again and again."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=allocator,
        schedule=schedule,
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
    schedule = Regrow(density=density, every=every, end=end, drop=drop)
    return _regrowing(Random(), schedule, Erk(), classifier)


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
    schedule = Regrow(density=density, every=every, end=end, drop=drop)
    return _regrowing(Gradient(), schedule, Erk(), classifier)


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
    across: bool = True,
    classifier: bool = False,
) -> Recipe:
    """RigL that begins denser and thins out on a cubic ramp: prune, then regrow where gradients are large.

    d_t = d_f + (d_i − d_f)(1 − t / t_end)³ from d_i = `initial`; at each step the weights above d_t go, then
    of what each layer has left the share drop/2 · (1 + cos(π t / t_end)) moves to its largest dense
    gradients. What thins out is the smallest of the whole model (`across`), as in the official code's
    `GraNet`; without, every layer thins out in proportion to what it holds, which is near to that
    code's `GraNet_uniform`, where all have one density. Which of the two the paper's text means could not
    be checked.
    """
    shares: Across = "falling" if across else "none"
    schedule = Regrow(
        density=density, every=every, end=end, drop=drop, initial=initial, across=shares
    )
    return _regrowing(Gradient(), schedule, Erk(), classifier)


@method(
    "dsr",
    family="while training",
    paper="Parameter Efficient Training of Deep Convolutional Neural Networks by Dynamic Sparse "
    "Reparameterization",
    authors="Mostafa & Wang",
    year=2019,
    arxiv="1902.05967",
)
def dsr(
    density: float = 0.1,
    every: str = "100it",
    end: str = "75%",
    drop: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Sparse training whose weights move between layers: the smallest of all go, most survivors grow most.

    At each step the share `drop` of all weights that are there, those of smallest magnitude in the whole
    model, is dropped, and as many grow at random places: layer l gets R_l / Σ R of them, R_l what has
    survived in it. All layers begin equally dense. The paper drops what lies below one threshold for all
    layers and doubles or halves that threshold to drop a fixed number; here exactly that number goes. Its
    numbers per network and interval could not be checked; `drop` is a share instead.
    """
    schedule = Regrow(
        density=density, every=every, end=end, drop=drop, decay="constant", across="all"
    )
    return _regrowing(Random(), schedule, Uniform(), classifier)
