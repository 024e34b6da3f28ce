"""Tickets that are drawn early: the training prunes itself as soon as masks have settled."""

from __future__ import annotations

from ..core.cards import method
from ..core.recipe import Recipe
from ..recover import RewindLR
from ..schedule import Settled
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
