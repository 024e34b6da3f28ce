"""Masks that are learned, or chosen anew at every step, while the network trains."""

from __future__ import annotations

from typing import Literal

from ..allocation import AboveZero, Uniform
from ..core.axes import Scope, Structure
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Learned, Magnitude
from ..gates import Biprop, EdgePopup, Movement, SoftMovement, SrSte
from ..initial import Kaiming
from ..pressure import Growing
from ..recover import RewindLR
from ..schedule import Cubic, OneShot, Repeat
from ..scope import NM, Model, Tensorwise
from ..structure import Blocks, Weights

MOVEMENT = "Movement Pruning: Adaptive Sparsity by Fine-Tuning"


@method(
    "edge-popup",
    family="at initialisation",
    paper="What's Hidden in a Randomly Weighted Neural Network?",
    authors="Ramanujan et al.",
    year=2020,
    arxiv="1911.13299",
)
def edge_popup(
    density: float = 0.5,
    signed: bool = True,
    lr: float | None = None,
    weight_decay: float = 1e-4,
    classifier: bool = True,
) -> Recipe:
    """Find a network inside random weights: scores are learned, the weights never change.

    Every weight has a score s; at each step the `density` of each layer with the largest |s| computes,
    and s follows sign(s) · w ∂L/∂(w m) by SGD with momentum 0.9, at the training's learning rate unless
    `lr` says otherwise. Weights are drawn as ± √(2 / fan_in) (`signed`) or from the normal distribution
    of that deviation; biases and batch norms stay as they are initialised, which in the built-in
    networks is what the official code's norms without parameters are. `density` is the paper's k. The
    classifier has scores too, as in the paper. The paper's option of scaling weights by the density
    is not here.
    """
    gate = EdgePopup(lr=lr, weight_decay=weight_decay)
    return _hidden(gate, density, signed, classifier)


def _hidden(gate: EdgePopup, density: float, signed: bool, classifier: bool) -> Recipe:
    """A network looked for inside random weights, which never change."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Learned(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density, at="0it"),
        initial=Kaiming(signed=signed),
        gate=gate,
    )


@method(
    "multi-prize",
    family="at initialisation",
    paper="Multi-Prize Lottery Ticket Hypothesis: Finding Accurate Binary Neural Networks by Pruning "
    "A Randomly Weighted Network",
    authors="Diffenderfer & Kailkhura",
    year=2021,
    arxiv="2103.09377",
)
def multi_prize(
    density: float = 0.5,
    lr: float | None = None,
    weight_decay: float = 1e-4,
    classifier: bool = True,
) -> Recipe:
    """`edge-popup` on signs: the network computes with ± one number per layer, and keeps that.

    In place of w · m the network computes with α · sign(w) · m, α = Σ m |w| / Σ m of each layer, all through
    the training (biprop); at the end every weight is + α, − α or zero. Weights are drawn from the normal
    distribution of variance 2 / fan_in and never change; scores follow sign(s) · w ∂L/∂(α sign(w) m) by SGD
    with momentum 0.9. `density` is what stays, which the official code calls prune rate. The classifier
    has scores too, as in the paper; biases and batch norms stay as they are initialised, as the norms
    without parameters of most of its runs (its variants that train them are not here). It is the
    paper's MPT-1/32: signs as activations (MPT-1/1) would be a change of the network. The weights are
    saved as ordinary numbers, not as bits.
    """
    return _hidden(Biprop(lr=lr, weight_decay=weight_decay), density, False, classifier)


def _scored(
    structure: Structure, gate: Movement, density: float, begin: str, end: str, across: bool
) -> Recipe:
    """Learned scores, of which fewer and fewer compute."""
    scope: Scope = Model() if across else Tensorwise()
    return Recipe(
        structure=structure,
        criterion=Learned(),
        scope=scope,
        allocator=Uniform(),
        schedule=Cubic(density=density, begin=begin, end=end, every="1it"),
        gate=gate,
    )


@method(
    "movement",
    family="while training",
    paper=MOVEMENT,
    authors="Sanh et al.",
    year=2020,
    arxiv="2005.07683",
)
def movement(
    density: float = 0.15,
    lr: float = 1e-2,
    rule: Literal["adam", "sgd"] = "adam",
    begin: str = "10%",
    end: str = "80%",
    across: bool = False,
    classifier: bool = False,
) -> Recipe:
    """Keep the weights that fine-tuning moves away from zero, while it trains them.

    Scores s start at zero and follow w ∂L/∂(w m); at each step the best of each layer compute (`across`:
    of the whole model), whose density falls on the cubic ramp d_t = d + (1 − d)(1 − (t − begin) /
    (end − begin))³. Masked weights keep their values and may come back until training ends. For
    trained networks that are trained further, on a new task in the paper: a pretrained one is
    fine-tuned, weights at a small learning rate, scores at `lr` by Adam. The official code selects per
    layer and has a variant that compares all.
    """
    gate = Movement(lr=lr, rule=rule)
    return _scored(Weights(classifier=classifier), gate, density, begin, end, across)


@method(
    "block-movement",
    family="while training",
    paper="Block Pruning For Faster Transformers",
    authors="Lagunas et al.",
    year=2021,
    arxiv="2109.04838",
)
def block_movement(
    density: float = 0.25,
    height: int = 4,
    width: int = 4,
    lr: float = 1e-2,
    begin: str = "10%",
    end: str = "80%",
    across: bool = False,
    classifier: bool = False,
    exclude: tuple[str, ...] = (),
) -> Recipe:
    """Movement pruning of rectangles of weights, one score for each.

    s_b follows Σ w ∂L/∂(w m) over the `height` outputs × `width` inputs of block b; otherwise as
    `movement`. The paper's blocks are 32 × 32 in attention and single rows and columns in the FFN, and
    its scores are held against a threshold under a penalty; here `density` says how much stays.
    Layers whose sides are no multiples of the block must be named in `exclude`.
    """
    blocks = Blocks(height=height, width=width, classifier=classifier, exclude=exclude)
    return _scored(blocks, Movement(lr=lr), density, begin, end, across)


@method(
    "soft-movement",
    family="while training",
    paper=MOVEMENT,
    authors="Sanh et al.",
    year=2020,
    arxiv="2005.07683",
)
def soft_movement(
    strength: float = 100.0,
    threshold: float = 0.1,
    lr: float = 1e-2,
    begin: float = 0.1,
    end: float = 0.8,
    floor: float = 0.005,
    classifier: bool = False,
) -> Recipe:
    """Movement pruning against a threshold: a penalty on the scores decides how much stays, layer by layer.

    A weight computes where σ(s) > τ_t; s follows w ∂L/∂(w m) + λ_t σ'(s) / n, the gradient of λ_t times the
    mean of σ(s). Threshold and penalty rise together from 0 to `threshold` and `strength` between the
    shares `begin` and `end` of the training, as in the official code. The density is found: raise
    `strength` (the official runs take 100 to 400 for BERT) to keep less. `floor` of each layer stays.
    """
    gate = SoftMovement(threshold=threshold, strength=strength, lr=lr, begin=begin, end=end)
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Learned(),
        scope=Tensorwise(),
        allocator=AboveZero(floor=floor),
        schedule=Repeat(),
        gate=gate,
    )


@method(
    "sr-ste",
    family="while training",
    paper="Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch",
    authors="Zhou et al.",
    year=2021,
    arxiv="2102.04010",
)
def sr_ste(n: int = 2, m: int = 4, strength: float = 2e-4, classifier: bool = False) -> Recipe:
    """N:M sparsity from scratch: dense weights train behind a mask that is chosen anew at every step.

    The network computes with the N largest of every M consecutive inputs; all weights get its gradient
    (straight through), and those that are out + λ w as well: g + λ (1 − m) ⊙ w, λ = `strength`, the paper's
    2e-4. N counts NON-ZEROS. For a convolution the input channel is the consecutive dimension. Weights
    whose inputs are no multiple of M stay dense. With `strength=0` it is the plain straight-through
    estimator the paper compares with.
    """
    return Recipe(
        structure=Weights(classifier=classifier, inputs_multiple_of=m),
        criterion=Magnitude(),
        scope=NM(n=n, m=m),
        allocator=Uniform(),
        schedule=OneShot(density=n / m, at="0it"),
        gate=SrSte(strength=strength),
    )


@method(
    "dual-lottery",
    family="at initialisation",
    paper="Dual Lottery Ticket Hypothesis",
    authors="Bai et al.",
    year=2022,
    arxiv="2203.04248",
)
def dual_lottery(
    density: float = 0.3,
    strength: float = 1.0,
    rise: float = 0.7,
    classifier: bool = False,
) -> Recipe:
    """Pick a random sparse network, push all other weights to zero while they train, then train it.

    A random `density` of the weights of each layer is spared before training. All weights train on loss +
    ½ λ Σ w² over the rest, with λ growing linearly to `strength` over the share `rise` of the training, so
    that what they know goes over to the spared ones; then the rest goes, and what is left trains once
    more, from the start of the learning-rate schedule (random sparse network transformation, RST). The
    official code lets λ grow by small steps to a limit at a learning rate of its own and leaves the first
    and the last layer whole; here the push uses the training's schedule, and the first layer is pruned as
    the others.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Learned(),
        scope=Tensorwise(),
        allocator=Uniform(),
        schedule=OneShot(density=density),
        pressure=Growing(strength=strength, rise=rise, by="chance"),
        recovery=RewindLR(),
    )
