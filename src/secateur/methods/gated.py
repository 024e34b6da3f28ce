"""Structures behind gates or scaling factors that learn to close."""

from __future__ import annotations

from ..allocation import AboveZero, ModelWide
from ..core.axes import Allocator, Schedule
from ..core.cards import method
from ..core.recipe import Recipe
from ..core.training import Gate
from ..criteria import Learned
from ..gates import HardConcrete, Scaling, Variational
from ..schedule import OneShot, Repeat
from ..scope import Tensorwise
from ..structure import Coupled
from .basic import fine_tuning


def _gated(
    gate: Gate, allocator: Allocator, schedule: Schedule, kinds: tuple[str, ...],
    fine_tune: str | None, lr_scale: float,
) -> Recipe:  # fmt: skip
    """Coupled structures behind gates; one unit of each stays."""
    return Recipe(
        structure=Coupled(kinds=kinds),
        criterion=Learned(),
        scope=Tensorwise(),
        allocator=allocator,
        schedule=schedule,
        gate=gate,
        recovery=fine_tuning(fine_tune, lr_scale),
    )


@method(
    "l0",
    family="structured",
    paper="Learning Sparse Neural Networks through L0 Regularization",
    authors="Louizos et al.",
    year=2018,
    arxiv="1712.01312",
)
def l0(
    strength: float = 1.0,
    lr: float = 0.02,
    open: float = 0.9,
    kinds: tuple[str, ...] = ("channels", "neurons"),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Train structures behind random gates under a penalty on how many are expected to be open.

    z = clamp(s (ζ − γ) + γ, 0, 1) with s = σ((log u − log(1 − u) + log α) / β) multiplies what later layers
    read of a channel or neuron; to the loss comes strength · Σ n_u P(z_u > 0) / Σ n_u. β = 2/3, γ = −0.1,
    ζ = 1.1. What is closed at the end goes (one unit of each structure stays), what is half open is
    scaled for good: z = clamp(σ(log α)(ζ − γ) + γ, 0, 1). How much stays is found. The paper's
    λ over the number of samples is here `strength` over the number of weights; it trains all gates
    at the rate of the weights, here `lr` by Adam is theirs; and it gates channels before their batch
    norm. `open` is σ(log α) at the start, ½ in most of the paper's runs.
    """
    gate = HardConcrete(strength=strength, lr=lr, open=open)
    return _gated(gate, AboveZero(floor=1), Repeat(), kinds, fine_tune, lr_scale)


@method(
    "l0-target",
    family="structured",
    paper="Structured Pruning of Large Language Models",
    authors="Wang et al.",
    year=2020,
    arxiv="1910.04732",
)
def l0_target(
    density: float = 0.5,
    lr: float = 0.02,
    warmup: float = 0.3,
    open: float = 0.9,
    kinds: tuple[str, ...] = ("channels", "neurons"),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """`l0` towards a share of units that is asked for, by multipliers that climb until it is met.

    To the loss comes λ₁ (d − q) + λ₂ (d − q)² with q the expected share of open gates and d going from 1 to
    `density` in a line over the share `warmup` of the training; log α descends, λ₁ and λ₂ climb, from 0.
    When training ends exactly `density` of all units stay, those with the largest log α and one of each
    structure. As in CoFi (Xia et al. 2022, arXiv 2204.00408), which counts parameters where this counts
    units and adds gates for whole layers and for the residual width, and distillation.
    """
    gate = HardConcrete(density=density, lr=lr, warmup=warmup, open=open)
    schedule = OneShot(density=density)
    return _gated(gate, ModelWide(floor=1), schedule, kinds, fine_tune, lr_scale)


@method(
    "sss",
    family="structured",
    paper="Data-Driven Sparse Structure Selection for Deep Neural Networks",
    authors="Huang & Wang",
    year=2018,
    arxiv="1707.01213",
)
def sss(
    strength: float = 0.01,
    momentum: float = 0.9,
    lr: float | None = None,
    kinds: tuple[str, ...] = ("channels", "neurons"),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Train a scaling factor with every structure and take out those that a proximal step has set to zero.

    loss + strength · Σ a with one factor a ≥ 0, at first 1, on what later layers read of each channel or
    neuron; the smooth part moves by Nesterov's step, the penalty by soft thresholding: z = S(a − η ∂L/∂a,
    η · strength), v ← z − a + μ v, a ← z + μ v. At the end a = 0 goes (one unit of each structure stays)
    and other factors are multiplied into the weights. How much stays is found; `strength` is the paper's
    γ, 0.01 in its official code. The paper also puts factors on residual blocks and on groups of
    ResNeXt, which are not here, and finds no need to fine-tune.
    """
    gate = Scaling(strength=strength, momentum=momentum, lr=lr)
    return _gated(gate, AboveZero(floor=1), Repeat(), kinds, fine_tune, lr_scale)


@method(
    "variational-channels",
    family="structured",
    paper="Variational Convolutional Neural Network Pruning",
    authors="Zhao et al.",
    year=2019,
)
def variational_channels(
    density: float | None = None,
    strength: float = 0.05,
    lr: float = 0.02,
    spread: float = 0.1,
    mean: float = 0.02,
    deviation: float = 0.01,
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Learn a Gaussian for the scale of every batch norm, and take out channels that are zero for certain.

    s ~ N(μ, σ²), drawn at every step, multiplies scale and shift of a channel's norm: s · (γ x̂ + β), the
    paper's norm with β̃ = β / γ. To the loss comes strength · mean KL, KL(N(μ, σ²) ‖ N(0, σ²)) = μ² / (2 σ²).
    A channel goes if |μ γ| < `mean` and σ |γ| < `deviation` (one of each structure stays); with `density`
    that many stay, those with the largest max(|μ γ| / `mean`, σ |γ| / `deviation`). Then γ and β are
    multiplied by μ. The paper needs no fine-tuning, which is so here unless `fine_tune` says otherwise.

    A lower bound's `strength` is the number of channels over that of training samples. The paper gives
    no code: the prior, as wide as the posterior, and both thresholds are those of an independent
    implementation. Channels that a residual sum ties together are left alone unless `kinds` names them.
    """
    gate = Variational(strength=strength, lr=lr, spread=spread, mean=mean, deviation=deviation)
    if density is None:
        return _gated(gate, AboveZero(floor=1), Repeat(), kinds, fine_tune, lr_scale)
    schedule = OneShot(density=density)
    return _gated(gate, ModelWide(floor=1), schedule, kinds, fine_tune, lr_scale)
