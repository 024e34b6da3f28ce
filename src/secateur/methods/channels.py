"""Channels judged by what they do on data: rank, gradients, curvature, rebuilding."""

from __future__ import annotations

from typing import Literal

from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import ActivationTaylor, ChannelLasso, Fisher, HRank, Sosp, ThiNet, UnitTaylor
from ..solve import LeastSquares
from .filters import CHANNELS
from .structured import coupled


@method(
    "hrank",
    family="structured",
    paper="HRank: Filter Pruning using High-Rank Feature Map",
    authors="Lin et al.",
    year=2020,
    arxiv="2002.10179",
)
def hrank(
    density: float = 0.7,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the channels whose feature maps have the lowest rank on average.

    s_u = mean over images of rank(X_u), the map as the next layer reads it; a singular value counts
    above max(H, W) · ε · σ_max, ε that of float32. Every layer keeps the same share, where the paper
    sets shares by hand and prunes and fine-tunes layer by layer. Some hundred images are enough.
    """
    return coupled(HRank(), density, False, kinds, fine_tune, lr_scale)


@method(
    "taylor-2017",
    family="structured",
    paper="Pruning Convolutional Neural Networks for Resource Efficient Inference",
    authors="Molchanov et al.",
    year=2017,
    arxiv="1611.06440",
)
def taylor_2017(
    density: float = 0.7,
    kinds: tuple[str, ...] = CHANNELS,
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the channels whose activations times their gradients are smallest, over all layers.

    s_u = a_u / ‖a‖₂ within a layer, a_u = mean over samples of |Σ_places h_u ∂ℓ/∂h_u|. The paper
    removes one channel after the other with some updates of training in between, and takes the
    operations a channel costs into account by a term set by hand; here all go in `rounds` steps, each
    with new scores and, with `fine_tune`, training after it. One step is a poor use of the scores: they
    speak of one channel at a time, and those of a network that fits its data are all but zero.
    """
    criterion = ActivationTaylor()
    return coupled(
        criterion, density, True, kinds, fine_tune, lr_scale, relative=False, rounds=rounds
    )


@method(
    "taylor-2019",
    family="structured",
    paper="Importance Estimation for Neural Network Pruning",
    authors="Molchanov et al.",
    year=2019,
    arxiv="1906.10771",
)
def taylor_2019(
    density: float = 0.7,
    kinds: tuple[str, ...] = CHANNELS,
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the filters whose loss changes the loss least, to first order, over all layers.

    s_u = mean over batches of (Σ_i w_i g_i)² over the filter that writes channel u, compared as they
    are. The paper removes some filters every few batches of fine-tuning and averages as it goes;
    here they go in `rounds` steps with new scores and, with `fine_tune`, training after each; as with
    `taylor-2017` one step is a poor use of the scores. Give batches of the size the paper trains with,
    and several: the square is taken of each. It prefers gates behind batch norms, which is
    `taylor-2017` squared.
    """
    return coupled(
        UnitTaylor(), density, True, kinds, fine_tune, lr_scale, relative=False, rounds=rounds
    )


@method(
    "fisher-channels",
    family="structured",
    paper="Faster gaze prediction with dense networks and Fisher pruning",
    authors="Theis et al.",
    year=2018,
    arxiv="1801.05787",
)
def fisher_channels(
    density: float = 0.7,
    kinds: tuple[str, ...] = CHANNELS,
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the channels with the least Fisher information of a gate on them, over all layers.

    s_u = ½ mean over samples of (Σ_places h_u ∂ℓ/∂h_u)², compared as they are. The paper removes one
    channel at a time during training and weighs it against the operations it costs; here they go in
    `rounds` steps with new scores and, with `fine_tune`, training after each.
    """
    return coupled(
        Fisher(), density, True, kinds, fine_tune, lr_scale, relative=False, rounds=rounds
    )


@method(
    "sosp",
    family="structured",
    paper="SOSP: Efficiently Capturing Global Correlations by Second-Order Structured Pruning",
    authors="Nonnenmacher et al.",
    year=2022,
    arxiv="2110.11395",
)
def sosp(
    density: float = 0.7,
    variant: Literal["h", "i"] = "h",
    kinds: tuple[str, ...] = CHANNELS,
    rounds: int = 1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Take out the channels that change the loss least to second order, with all correlations.

    s_u = |Σ w g| + ½ |Σ w (Hθ)| over all that goes with channel u, θ the weights of all channels
    together: the paper's SOSP-H, one product with the Hessian. `variant="i"`, its SOSP-I, takes
    ½ Σ_v |θ_uᵀ G θ_v| of the Gauss-Newton matrix G instead, pair by pair, at a backward pass for each
    output of each sample. Compared over the model as they are; in `rounds` steps with new scores,
    where the paper takes one. A structure there is a filter alone.
    """
    criterion = Sosp(variant=variant)
    return coupled(
        criterion, density, True, kinds, fine_tune, lr_scale, relative=False, rounds=rounds
    )


@method(
    "channel-lasso",
    family="structured",
    paper="Channel Pruning for Accelerating Very Deep Neural Networks",
    authors="He et al.",
    year=2017,
    arxiv="1707.06168",
)
def channel_lasso(
    density: float = 0.7,
    solve: bool = True,
    in_order: bool = True,
    residual: bool = True,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Choose by LASSO the channels that rebuild the next layer's output, and refit its weights.

    β = argmin ½ E‖y − Σ_u β_u z_u‖² + λ‖β‖₁, z_u what channel u adds to the next layer's output, y that
    output in the dense network; the channels that come in first as λ falls stay, the same share in
    every layer, and the next layer's weights are refitted to y by least squares (`solve`). As in the
    paper layers go one after the other, with inputs from the network pruned so far (`in_order`; without
    it all at once), and the last layer of a residual branch aims at y plus what the shortcut has lost
    (`residual`). The paper alternates between β and the weights, keeps more in some layers, and samples
    the input of a branch's first layer, which is left whole here.
    """
    aim: Literal["output", "sum"] = "sum" if residual and in_order else "output"
    solver = LeastSquares(aim=aim) if solve else None
    criterion = ChannelLasso(aim=aim)
    return coupled(
        criterion, density, False, kinds, fine_tune, lr_scale, solver=solver, in_order=in_order
    )


@method(
    "thinet",
    family="structured",
    paper="ThiNet: A Filter Level Pruning Method for Deep Neural Network Compression",
    authors="Luo et al.",
    year=2017,
    arxiv="1707.06342",
)
def thinet(
    density: float = 0.7,
    solve: bool = True,
    in_order: bool = True,
    kinds: tuple[str, ...] = CHANNELS,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Remove greedily the channels whose sum the next layer feels least, and rescale the others.

    The next to go is the u with the least E‖Σ_{v∈T∪u} z_v‖², z_v what channel v adds to the next
    layer's output, T what is gone; then every kept channel gets one factor by least squares
    (`solve`), which aims at the dense network's output. The same share of every layer, one layer after
    the other in the network pruned so far (`in_order`; without it all at once). The paper fine-tunes
    after every layer, and samples places of the output; here all places count.
    """
    solver = LeastSquares(fit="scales") if solve else None
    return coupled(
        ThiNet(), density, False, kinds, fine_tune, lr_scale, solver=solver, in_order=in_order
    )
