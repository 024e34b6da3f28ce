"""Methods that take nothing out: what is left out is decided for every input while the network runs."""

from __future__ import annotations

from ..allocation import Uniform
from ..core.axes import Allocator, Schedule, Scope, Structure
from ..core.cards import method
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..criteria import PerInput
from ..materialise import ActivationThresholds, ChannelGates
from ..schedule import Linear, OneShot
from ..scope import Model, Tensorwise
from ..structure import Coupled, Inputs
from .basic import fine_tuning


def _at_run_time(
    structure: Structure, schedule: Schedule, materialise: RunTime,
    fine_tune: str | None = None, lr_scale: float = 0.1, allocator: Allocator | None = None,
    scope: Scope | None = None,
) -> Recipe:  # fmt: skip
    """Units judged for every input, of each layer the same share unless an allocator says otherwise."""
    return Recipe(
        structure=structure,
        criterion=PerInput(),
        scope=scope or Tensorwise(),
        allocator=allocator or Uniform(),
        schedule=schedule,
        materialise=materialise,
        recovery=fine_tuning(fine_tune, lr_scale),
    )


@method(
    "fbs",
    family="run-time",
    paper="Dynamic Channel Pruning: Feature Boosting and Suppression",
    authors="Gao et al.",
    year=2019,
    arxiv="1810.05331",
)
def fbs(
    density: float = 0.5,
    strength: float = 1e-8,
    end: str = "50%",
    every: str = "5%",
    kinds: tuple[str, ...] = ("channels",),
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
) -> Recipe:
    """Predict for every input which channels of a convolution matter, boost those and leave out the others.

    y = relu(π(x) · norm(conv(x))) with π = wta_k(g), g = relu(Φ s(x) + ρ), s_c the mean of |x_c|: the k
    largest saliencies of an input stay and scale their channels, the rest is zero, so that this layer need
    not compute it nor the next one read it. To the loss comes strength · Σ g per sample and layer. k falls in
    equal steps from all channels to the share `density` (k is rounded) until `end` of the training; Φ and ρ
    train with the weights.

    The network keeps all its weights and gets more: what is saved is work, in kernels that can leave channels
    out. Dense kernels on batches save nothing; one input at a time is sliced (docs/dynamic.md has figures).
    In the paper g takes the place of the norm's scale, which stays here; densities are trained one after the
    other; and channels that residual sums tie together are gated too, which are left alone here.
    """
    schedule = Linear(density=density, end=end, every=every)
    gates = ChannelGates(strength=strength)
    return _at_run_time(Coupled(kinds=kinds), schedule, gates, fine_tune, lr_scale)


@method(
    "dynatran",
    family="run-time",
    paper="AccelTran: A Sparsity-Aware Accelerator for Dynamic Inference with Transformers",
    authors="Tuli & Jha",
    year=2023,
    arxiv="2302.14705",
)
def dynatran(
    density: float = 0.5,
    points: int = 20,
    attention: bool = True,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    classifier: bool = False,
) -> Recipe:
    """Set what a transformer multiplies to zero where it is small, for every input, without training.

    x stays where |x| ≥ τ, with one τ for all inputs of linear layers and all queries, keys, probabilities and
    values of attention. τ is read off a curve, the share of zeros as a function of τ, measured on data at
    `points` thresholds with the cuts at work; padding, and what a mask makes zero, do not count.
    The curve stays in the network, so `secateur.dynamic.set_sparsity` aims it elsewhere without data.

    Nothing becomes smaller, and a dense kernel multiplies by zeros as fast as by anything: what falls is the
    number of products whose factors are not zero, which needs hardware that leaves out the others, as the
    paper's does (docs/dynamic.md has figures). In the paper also outputs of layers and residual sums are cut
    wherever they are stored, here what is multiplied; small weights, which the paper may set to zero at the
    same τ, are a method of their own (`magnitude`). Attention is reached where a layer calls torch's
    `scaled_dot_product_attention`; other kinds are refused unless `attention` is off.
    """
    structure = Inputs(include=include, exclude=exclude, classifier=classifier, attention=attention)
    thresholds = ActivationThresholds(points=points)
    return _at_run_time(structure, OneShot(density=density), thresholds, scope=Model())
