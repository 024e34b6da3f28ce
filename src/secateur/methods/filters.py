"""Channels judged by their filters alone: no data."""

from __future__ import annotations

from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import FirstMember, Fpgm, Magnitude, Random
from .structured import coupled

CHANNELS = ("channels",)


@method("random-channels", family="baselines")
def random_channels(
    density: float = 0.7,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out channels at random, the same share of every layer: what a criterion has to beat."""
    return coupled(Random(), density, False, kinds, fine_tune, lr_scale)


@method(
    "l2-filters",
    family="structured",
    paper="Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks",
    authors="He et al.",
    year=2018,
    arxiv="1808.06866",
)
def l2_filters(
    density: float = 0.7,
    across: bool = False,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the filters with the smallest L2 norm.

    s_u = Σ w_u² over the filter that writes channel u, in the order of its L2 norm. `across`
    compares all layers, by s_u over the layer's mean. The paper zeroes filters softly, once in every
    epoch of training, so that they may come back (`soft-filters`); here they are chosen once.
    """
    criterion = FirstMember(inner=Magnitude(p=2.0))
    return coupled(criterion, density, across, kinds, fine_tune, lr_scale)


@method(
    "fpgm",
    family="structured",
    paper="Filter Pruning via Geometric Median for Deep CNN Acceleration",
    authors="He et al.",
    year=2019,
    arxiv="1811.00250",
)
def fpgm(
    density: float = 0.7,
    across: bool = False,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the filters nearest to the geometric median of their layer, which others can replace.

    s_u = Σ_v ‖w_u − w_v‖₂ over the filters of the layer, whatever their size. `across` compares all
    layers, by s_u over the layer's mean. The paper prunes the same share of every layer, softly in
    every epoch of training (`soft-fpgm`), and mixes in a share of filters with small norms; here once,
    without.
    """
    return coupled(Fpgm(), density, across, kinds, fine_tune, lr_scale)
