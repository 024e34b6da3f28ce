"""Lottery tickets, rewinding, and Han's iterative pruning."""

from __future__ import annotations

from typing import Literal

from ..allocation import Left, StdThreshold, Uniform
from ..core.axes import Criterion, Recovery
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Magnitude, Supermask
from ..recover import FineTune, FromScratch, RandomTicket, Reset, RewindLR, RewindWeights
from ..schedule import Iterative, OneShot, Repeat
from ..scope import Model, Tensorwise
from ..structure import Weights

Scope = Literal["tensor", "model"]
LOTTERY = "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks"
RENDA = "Comparing Rewinding and Fine-tuning in Neural Network Pruning"


def _iterative(
    recovery: Recovery,
    rate: float,
    rounds: int,
    scope: Scope,
    classifier: bool,
    criterion: Criterion | None = None,
) -> Recipe:
    """Train, remove a share of the survivors, recover; again and again."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=criterion or Magnitude(),
        scope=Tensorwise() if scope == "tensor" else Model(),
        allocator=Uniform(),
        schedule=Iterative(rate=rate, rounds=rounds),
        recovery=recovery,
    )


@method(
    "lottery-ticket",
    family="tickets",
    paper=LOTTERY,
    authors="Frankle & Carbin",
    year=2019,
    arxiv="1803.03635",
)
def lottery_ticket(
    rate: float = 0.2,
    rounds: int = 10,
    rewind_to: str = "0it",
    scope: Scope = "tensor",
    classifier: bool = False,
) -> Recipe:
    """Train, remove 20 % of the survivors by magnitude, rewind the rest to step 0; repeat.

    Round i ends with density (1 − rate)^i. With `rewind_to` a later step k it is weight rewinding
    (Frankle et al. 2019, arXiv 1903.01611): weights and schedule go back to k. The paper prunes
    the output layer at half the rate; here it is left alone unless `classifier` is set.
    """
    return _iterative(RewindWeights(to=rewind_to), rate, rounds, scope, classifier)


@method(
    "lr-rewinding",
    family="tickets",
    paper=RENDA,
    authors="Renda et al.",
    year=2020,
    arxiv="2003.02389",
)
def lr_rewinding(
    rate: float = 0.2,
    rounds: int = 10,
    rewind_to: str = "0it",
    scope: Scope = "model",
    classifier: bool = False,
) -> Recipe:
    """As the lottery ticket, but the weights stay and only the learning-rate schedule goes back."""
    return _iterative(RewindLR(to=rewind_to), rate, rounds, scope, classifier)


@method(
    "iterative-fine-tune",
    family="tickets",
    paper=RENDA,
    authors="Renda et al.",
    year=2020,
    arxiv="2003.02389",
)
def iterative_fine_tune(
    rate: float = 0.2,
    rounds: int = 10,
    fine_tune: str = "100%",
    lr_scale: float = 0.1,
    scope: Scope = "model",
    classifier: bool = False,
) -> Recipe:
    """Train, remove 20 % of the survivors by magnitude, fine-tune at a constant rate; repeat."""
    recovery = FineTune(length=fine_tune, lr_scale=lr_scale)
    return _iterative(recovery, rate, rounds, scope, classifier)


@method(
    "random-reinit",
    family="tickets",
    paper=LOTTERY,
    authors="Frankle & Carbin",
    year=2019,
    arxiv="1803.03635",
)
def random_reinit(
    rate: float = 0.2, rounds: int = 10, scope: Scope = "tensor", classifier: bool = False
) -> Recipe:
    """The lottery ticket's masks with new random weights: the control of the paper.

    The rounds before the last find the ticket by rewinding; after the last, new initial weights
    are drawn under its mask and trained.
    """
    return _iterative(FromScratch(), rate, rounds, scope, classifier)


@method(
    "random-ticket",
    family="tickets",
    paper=LOTTERY,
    authors="Frankle & Carbin",
    year=2019,
    arxiv="1803.03635",
)
def random_ticket(
    rate: float = 0.2, rounds: int = 10, scope: Scope = "tensor", classifier: bool = False
) -> Recipe:
    """The lottery ticket's weights and layer densities with shuffled masks: the other control.

    The rounds before the last find the ticket by rewinding; after the last, its mask is shuffled
    within each layer and the initial weights are trained under it.
    """
    return _iterative(RandomTicket(), rate, rounds, scope, classifier)


@method(
    "supermask",
    family="tickets",
    paper="Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask",
    authors="Zhou et al.",
    year=2019,
    arxiv="1905.01067",
)
def supermask(
    density: float = 0.2,
    keep: str = "large_final",
    signs: str = "same",
    train: bool = False,
    classifier: bool = False,
) -> Recipe:
    """Train, choose a mask by initial and final weights, go back to the initial weights.

    With `train` off the masked initial network is measured as it is: the mask alone is the
    learning. `keep` is one of the paper's criteria (large_final, large_init, magnitude_increase,
    movement, large_init_large_final, …); with `signs="same"` weights that changed their sign go
    first. The paper's masks compare weights within each layer, and so does this.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Supermask(keep=keep, signs=signs),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density),
        recovery=RewindWeights() if train else Reset(),
    )


@method(
    "han",
    family="tickets",
    paper="Learning both Weights and Connections for Efficient Neural Networks",
    authors="Han et al.",
    year=2015,
    arxiv="1506.02626",
)
def han(
    quality: float = 1.0,
    rounds: int = 7,
    fine_tune: str = "100ep",
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Train, remove what lies below quality × standard deviation of its layer, fine-tune; repeat.

    The threshold is taken anew in every round, over the survivors of each layer; the density is
    found, not asked for.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=StdThreshold(quality=quality),
        schedule=Repeat(rounds=rounds),
        recovery=FineTune(length=fine_tune, lr_scale=lr_scale),
    )


@method(
    "transferred-ticket",
    family="tickets",
    paper="One ticket to win them all: generalizing lottery ticket initializations across datasets and "
    "optimizers",
    authors="Morcos et al.",
    year=2019,
    arxiv="1906.02773",
)
def transferred_ticket(classifier: bool = True) -> Recipe:
    """Train a network with the masks it carries: a ticket that was found on another task or depth.

    `sc.transfer` (and `secateur transfer`) puts masks that were found on one network on another by the
    names of its parameters, with initial or early values of the ticket's network where they are given;
    the head of another task stays dense and has its own. A stage of another depth repeats or leaves
    out blocks of the ticket, all but its first (elastic tickets, Chen et al. 2021, arXiv 2103.16547).
    Then the network trains and the masks hold; nothing else is pruned. A network that carries no masks is
    refused. The paper finds its tickets by global iterative pruning with late resetting and compares
    with tickets whose masks are drawn at random.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=Left(),
        schedule=Repeat(at="0it"),
        carried=True,
    )
