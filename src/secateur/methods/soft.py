"""Filters that are zeroed while the network trains, and may come back until it ends."""

from __future__ import annotations

from ..core.axes import Criterion
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import FirstMember, Fpgm, Magnitude
from ..schedule import Soft
from .structured import coupled


def _soft(criterion: Criterion, density: float, every: str, kinds: tuple[str, ...]) -> Recipe:
    """Every layer keeps the same share, chosen anew each time."""
    recipe = coupled(criterion, density, False, kinds, None, 1.0)
    return Recipe(**{**dict(recipe), "schedule": Soft(density=density, every=every)})


@method(
    "soft-filters",
    family="while training",
    paper="Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks",
    authors="He et al.",
    year=2018,
    arxiv="1808.06866",
)
def soft_filters(
    density: float = 0.7, every: str = "1ep", kinds: tuple[str, ...] = ("channels",)
) -> Recipe:
    """Zero the filters of smallest L2 norm after every epoch, and let them train on.

    s_u = ‖w_u‖₂ of the filter that writes channel u; each layer keeps the share `density` (the paper's
    1 − P, the same for all layers). Zeroed filters get gradients again in the next epoch and are judged
    with all others at its end; the norm's scale and shift and the weights that read them are never
    touched before the training ends. Then the channels go for good. From scratch or from a trained
    network, at the training's own learning rate; a trained one goes through the training again.

    Channels that a residual sum ties together are left alone unless `kinds` names them
    (`residual width`); the official code zeroes filters of every convolution, and leaves shifts of
    what it zeroed. It keeps the optimiser's momentum through a zeroing, as is done here.
    Behind a batch norm the running statistics lag behind a zeroing: docs/while-training.md.
    """
    return _soft(FirstMember(inner=Magnitude(p=2.0)), density, every, kinds)


@method(
    "soft-fpgm",
    family="while training",
    paper="Filter Pruning via Geometric Median for Deep CNN Acceleration",
    authors="He et al.",
    year=2019,
    arxiv="1811.00250",
)
def soft_fpgm(
    density: float = 0.7, every: str = "1ep", kinds: tuple[str, ...] = ("channels",)
) -> Recipe:
    """`fpgm` as its paper trains it: the filters nearest to the others are zeroed after every epoch.

    s_u = Σ_v ‖w_u − w_v‖₂ over the filters of the layer, otherwise as `soft-filters`. The paper's mix with a
    share of filters of small norm is not here, which makes this its FPGM-only. The official code stops
    the gradients of zeroed filters until the next choice; here they train on.
    """
    return _soft(Fpgm(), density, every, kinds)
