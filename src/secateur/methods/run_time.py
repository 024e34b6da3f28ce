"""Methods that take nothing out: what is left out is decided for every input while the network runs."""

from __future__ import annotations

from ..allocation import Uniform
from ..core.axes import Allocator, Schedule, Structure
from ..core.cards import method
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..criteria import PerInput
from ..materialise import ChannelGates
from ..schedule import Linear
from ..scope import Tensorwise
from ..structure import Coupled
from .basic import fine_tuning


def _at_run_time(
    structure: Structure, schedule: Schedule, materialise: RunTime,
    fine_tune: str | None = None, lr_scale: float = 0.1, allocator: Allocator | None = None,
) -> Recipe:  # fmt: skip
    """Units judged for every input, of each layer the same share unless an allocator says otherwise."""
    return Recipe(
        structure=structure,
        criterion=PerInput(),
        scope=Tensorwise(),
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
