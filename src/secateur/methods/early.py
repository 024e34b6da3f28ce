"""Tickets that are drawn early: the training prunes itself as soon as masks have settled."""

from __future__ import annotations

from typing import Literal

from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Learned
from ..gates import Slimming
from ..recover import RewindLR, RewindWeights
from ..schedule import Settled
from ..scope import Tensorwise
from ..structure import Coupled
from .llm_structured import shares
from .slimming import network_slimming


@method(
    "early-bird",
    family="tickets",
    paper="Drawing Early-Bird Tickets: Towards More Efficient Training of Deep Networks",
    authors="You et al.",
    year=2020,
    arxiv="1909.11957",
)
def early_bird(
    density: float = 0.5,
    strength: float = 1e-4,
    every: str = "1ep",
    memory: int = 5,
    within: float = 0.1,
    again: bool = False,
    kinds: tuple[str, ...] = ("channels",),
) -> Recipe:
    """Train as `network-slimming`, draw a mask every epoch, and prune when the masks stop changing.

    loss + strength · Σ |γ|; at every `every` a mask is drawn: the `density` of all channels with the largest
    |γ|, compared over the whole model with one of each layer kept. The newest of the last `memory` masks
    is the ticket once the share of channels in which it differs from any of the others is at most
    `within` (the paper's ε); masks that never settle are taken when training ends. The training then
    goes on to its end with what is left, still under the penalty, as the official code has it; `again`
    trains the ticket once more from the start of the learning-rate schedule instead. The distances are
    in the record.

    The official code draws its first mask before the first step, judges all batch norms, those of
    channels that a residual sum ties together too, and starts the optimiser anew with the smaller
    network. The paper's training at low precision is not here.
    """
    slimming = network_slimming(density=density, strength=strength, kinds=kinds)
    schedule = Settled(density=density, every=every, memory=memory, within=within)
    recovery = RewindLR() if again else None
    return Recipe(**{**dict(slimming), "schedule": schedule, "recovery": recovery})


@method(
    "earlybert",
    family="tickets",
    paper="EarlyBERT: Efficient BERT Training via Early-bird Lottery Tickets",
    authors="Chen et al.",
    year=2021,
    arxiv="2101.00063",
)
def earlybert(
    density: float = 0.65,
    strength: float = 1e-4,
    every: str = "5%",
    memory: int = 3,
    within: float = 0.05,
    rule: Literal["adam", "sgd"] = "adam",
    lr: float | None = None,
    across: bool = False,
    kinds: tuple[str, ...] = ("heads", "neurons"),
) -> Recipe:
    """Slim heads and FFN neurons of a transformer by coefficients, draw the ticket early, train it anew.

    Every head and every neuron has a coefficient c, 1 at first, that multiplies its output;
    loss + strength · Σ |c| trains weights and coefficients together, these by `rule` at the training's rate
    (or `lr`). At every `every` a mask is drawn: the `density` of each layer's heads and neurons with the
    largest |c| (of all layers together with `across`), one of each kept. The newest of the last `memory`
    masks is the ticket once the share of units in which it differs from any of the others is at most
    `within`; masks that never settle are taken when training ends. Then the weights go back to what
    they were before the search, pre-trained or not, and what is left of the network runs through the
    whole training, without coefficients.

    The paper watches the distances to see that masks settle early, and its scripts then draw at a
    fixed moment (after a fifth of an epoch of fine-tuning) a third of each layer's heads and 40 % of all
    neurons, ranked over all layers; one density and the stop by distance are here. Its search has a
    smaller learning rate than the training of the ticket (2e-5 and 4e-5): here both are the training's.
    Give pre-trained networks without `trained=True`: their weights are where the ticket begins.
    """
    return Recipe(
        structure=Coupled(kinds=kinds),
        criterion=Learned(),
        scope=Tensorwise(),
        allocator=shares(across),
        schedule=Settled(density=density, every=every, memory=memory, within=within),
        gate=Slimming(strength=strength, rule=rule, lr=lr),
        recovery=RewindWeights(),
    )
