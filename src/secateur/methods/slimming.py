"""Structured pruning with a pressure: training makes small what is taken out afterwards."""

from __future__ import annotations

from typing import Literal

from ..core.cards import method
from ..core.recipe import Recipe
from ..core.training import Pressure
from ..criteria import BnScale, FirstMember, Magnitude
from ..pressure import GroupLasso, GroupShrinkage, Growing, L1Bn, PricedBn
from .structured import coupled


def pressed(recipe: Recipe, pressure: Pressure) -> Recipe:
    """The same recipe with a pressure during its main training."""
    return Recipe(**{**dict(recipe), "pressure": pressure})


@method(
    "network-slimming",
    family="structured",
    paper="Learning Efficient Convolutional Networks through Network Slimming",
    authors="Liu et al.",
    year=2017,
    arxiv="1708.06519",
)
def network_slimming(
    density: float = 0.6,
    strength: float = 1e-4,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Train with L1 on the batch-norm scales, then take out the channels whose scales are smallest.

    loss + strength · Σ |γ|; s_u = |γ_u|, compared over the whole model as they are, with one channel
    of every layer kept. `density` is the fraction of channels that stays, `strength` the paper's 1e-4
    for VGG; it takes 1e-5 for ResNet and DenseNet. A trained network goes through the training again,
    now with the penalty. Channels that a residual sum ties together are left alone, where the paper
    selects them at the entry of each block.
    """
    recipe = coupled(BnScale(), density, True, kinds, fine_tune, lr_scale, relative=False)
    return pressed(recipe, L1Bn(strength=strength))


@method(
    "morphnet",
    family="structured",
    paper="MorphNet: Fast & Simple Resource-Constrained Structure Learning of Deep Networks",
    authors="Gordon et al.",
    year=2018,
    arxiv="1711.06798",
)
def morphnet(
    density: float = 0.6,
    strength: float = 1e-4,
    what: Literal["macs", "parameters"] = "macs",
    threshold: float = 0.01,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """`network-slimming` with each scale pushed as hard as its channel is dear, in multiplications.

    loss + strength · Σ_t p_t Σ_u |γ_u|, p_t what one channel of structure t adds to the MACs (`what`) of the
    channels that are there now (|γ| > `threshold`), over the mean of all channels at the start. Then the
    channels with the smallest |γ| go, compared over the whole model with one of every layer kept.

    The paper, and its official code, take out what has fallen below the threshold; here `density` says how
    much goes, so that methods can be compared. The paper then widens all layers by one factor until the
    budget is used again and starts over, which is not here, nor its group lasso over all layers that a
    residual sum ties together: those channels are left alone. Its prices are not divided by a mean, which
    makes its strengths small numbers (1e-9 for operations).
    """
    recipe = coupled(BnScale(), density, True, kinds, fine_tune, lr_scale, relative=False)
    return pressed(recipe, PricedBn(strength=strength, what=what, threshold=threshold))


@method(
    "ssl",
    family="structured",
    paper="Learning Structured Sparsity in Deep Neural Networks",
    authors="Wen et al.",
    year=2016,
    arxiv="1608.03665",
)
def ssl(
    density: float = 0.7,
    strength: float = 1e-4,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Train with a group lasso over filters and channels, then take out the smallest filters.

    loss + strength · (Σ ‖filter‖₂ + Σ ‖channel‖₂); s_u = ‖filter u‖² compared over the whole model.
    The paper removes what the penalty made zero, by setting `strength` by hand; here `density`
    says how much goes, so that methods can be compared, and nothing that has reached zero costs
    anything. Its groups of filter shapes and of whole layers are not used.
    """
    criterion = FirstMember(inner=Magnitude(p=2.0))
    recipe = coupled(criterion, density, True, kinds, fine_tune, lr_scale, relative=False)
    return pressed(recipe, GroupLasso(strength=strength))


@method(
    "greg",
    family="structured",
    paper="Neural Pruning via Growing Regularization",
    authors="Wang et al.",
    year=2021,
    arxiv="2012.09243",
)
def greg(
    density: float = 0.7,
    strength: float = 1.0,
    rise: float = 0.7,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Choose the filters to go by their L1 norm, push them to zero ever harder, then take them out.

    GReg-1: when training begins the filters outside the largest `density` of every layer are marked;
    loss + ½ λ Σ w² over them, with λ growing linearly to `strength` over the share `rise` of the
    training. Give a trained network: the paper starts from one, at a small learning rate. The paper
    sets its rates layer by layer; here every layer keeps the same share.
    """
    recipe = coupled(FirstMember(inner=Magnitude()), density, False, kinds, fine_tune, lr_scale)
    return pressed(recipe, Growing(density=density, strength=strength, rise=rise))


@method(
    "depgraph-sparse",
    family="structured",
    paper="DepGraph: Towards Any Structural Pruning",
    authors="Fang et al.",
    year=2023,
    arxiv="2301.12900",
)
def depgraph_sparse(
    density: float = 0.7,
    strength: float = 1e-4,
    alpha: float = 4.0,
    across: bool = True,
    kinds: tuple[str, ...] = (),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """`group-norm` after sparsity learning: coupled units shrink, small ones most.

    loss + strength · ½ Σ_u γ_u I_u with I_u the sum of the squares of all that goes with unit u and
    γ_u = 2^(alpha (I_max - I_u) / (I_max - I_min)), so that the smallest unit of a structure is pushed
    2^alpha times as hard as the largest. Then as `group-norm`: s_u = I_u over its mean.
    """
    recipe = coupled(Magnitude(p=2.0), density, across, kinds, fine_tune, lr_scale)
    return pressed(recipe, GroupShrinkage(strength=strength, alpha=alpha))
