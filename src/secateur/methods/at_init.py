"""Pruning before training."""

from __future__ import annotations

from ..allocation import Uniform
from ..core.axes import Criterion, Schedule
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Force, Grasp, Snip, SynFlow
from ..initial import Orthogonal
from ..schedule import Exponential, OneShot
from ..scope import Model
from ..structure import Weights


def _at_start(criterion: Criterion, schedule: Schedule, classifier: bool) -> Recipe:
    """Score all weights against each other before the first training step."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=criterion,
        scope=Model(),
        allocator=Uniform(),
        schedule=schedule,
    )


@method(
    "snip",
    family="at initialisation",
    paper="SNIP: Single-shot Network Pruning based on Connection Sensitivity",
    authors="Lee et al.",
    year=2019,
    arxiv="1810.02340",
)
def snip(density: float = 0.1, classifier: bool = False) -> Recipe:
    """Keep the weights whose removal changes the loss most, judged once before training.

    s_i = |w_i · ∂L/∂w_i| (connection sensitivity), compared over the whole model. The paper
    normalises by the sum of all scores, which leaves the order as it is, and scores one batch.
    """
    return _at_start(Snip(), OneShot(density=density, at="0it"), classifier)


@method(
    "orthogonal-snip",
    family="at initialisation",
    paper="A Signal Propagation Perspective for Pruning Neural Networks at Initialization",
    authors="Lee et al.",
    year=2020,
    arxiv="1906.06307",
)
def orthogonal_snip(density: float = 0.1, gain: float = 1.0, classifier: bool = False) -> Recipe:
    """SNIP on orthogonal weights, which carry signals through all layers at one size.

    Every weight is drawn anew as a random matrix W [out, in · kernel] with W Wᵀ = gain² I (or Wᵀ W where
    it is tall), then scored as `snip`: s_i = |w_i · ∂L/∂w_i|. Scores then do not shrink or grow from layer
    to layer with the spread of the weights. The paper's second step, bringing the pruned weights back
    near to orthogonal by gradient descent on ‖(m ⊙ W)ᵀ (m ⊙ W) − I‖, is not here.
    """
    recipe = _at_start(Snip(), OneShot(density=density, at="0it"), classifier)
    return Recipe(**{**dict(recipe), "initial": Orthogonal(gain=gain)})


@method(
    "iterative-snip",
    family="at initialisation",
    paper="Progressive Skeletonization: Trimming more fat from a network at initialization",
    authors="de Jorge et al.",
    year=2021,
    arxiv="2006.09081",
)
def iterative_snip(density: float = 0.1, rounds: int = 100, classifier: bool = False) -> Recipe:
    """SNIP in many small steps: what one round removed stays removed.

    Densities fall exponentially, density^(i/rounds), and end exactly at `density`.
    """
    schedule = Exponential(density=density, rounds=rounds, at="0it")
    return _at_start(Snip(), schedule, classifier)


@method(
    "force",
    family="at initialisation",
    paper="Progressive Skeletonization: Trimming more fat from a network at initialization",
    authors="de Jorge et al.",
    year=2021,
    arxiv="2006.09081",
)
def force(density: float = 0.1, rounds: int = 60, classifier: bool = False) -> Recipe:
    """FORCE: iterative SNIP in which a weight that was removed may come back.

    s_i = |w_i · ∂L/∂w_i| with the gradient of the network as it is pruned now and the weight's
    initial value, so that a removed weight is judged as if it were put back (foresight connection
    sensitivity).
    """
    schedule = Exponential(density=density, rounds=rounds, at="0it")
    return _at_start(Force(), schedule, classifier).model_copy(update={"revive": True})


@method(
    "grasp",
    family="at initialisation",
    paper="Picking Winning Tickets Before Training by Preserving Gradient Flow",
    authors="Wang et al.",
    year=2020,
    arxiv="2002.07376",
)
def grasp(density: float = 0.1, classifier: bool = False) -> Recipe:
    """Keep the weights whose removal would reduce the gradient flow, judged before training.

    The score is signed, −w ∘ Hg as the paper defines what to remove; weights whose removal would
    increase the gradient norm go first.
    """
    return _at_start(Grasp(), OneShot(density=density, at="0it"), classifier)


@method(
    "synflow",
    family="at initialisation",
    paper="Pruning neural networks without any data by iteratively conserving synaptic flow",
    authors="Tanaka et al.",
    year=2020,
    arxiv="2006.05467",
)
def synflow(
    density: float = 0.1, rounds: int = 100, classifier: bool = False, connected: bool = True
) -> Recipe:
    """Keep the weights that carry the synaptic flow; no data, many rounds, no layer collapse.

    R = 1ᵀ (Π_l |W_l|) 1, s_i = |∂R/∂w_i · w_i|, scored anew in each of `rounds` rounds with
    densities density^(i/rounds). The last round ends exactly at `density`, whatever the number of
    rounds: a fixed share of the survivors every round would end wherever it ends.

    Flow is conserved over every cut of the network, so a layer that all paths cross cannot die
    early; a layer beside another branch can (a ResNet's 1x1 projections carry little of the flow
    and are the first to be emptied). `connected` holds such a layer's strongest path when a round
    would take it; the paper and its official code do not, and on plain networks it changes nothing.
    """
    schedule = Exponential(density=density, rounds=rounds, at="0it")
    recipe = _at_start(SynFlow(), schedule, classifier)
    return recipe.model_copy(update={"connected": connected})
