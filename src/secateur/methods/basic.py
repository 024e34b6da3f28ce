"""Dense training and one-shot pruning: the baselines of every comparison."""

from __future__ import annotations

from typing import Literal

from ..allocation import Erk, SmartRatio, Uniform
from ..core.axes import Criterion, Recovery, Scope
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Lamp, Magnitude, Obd, Random, Taylor
from ..recover import FineTune
from ..schedule import Never, OneShot
from ..scope import NM, Model, Tensorwise
from ..structure import Weights

HAN = "Learning both Weights and Connections for Efficient Neural Networks"


def fine_tuning(length: str | None, lr_scale: float) -> Recovery | None:
    """Fine-tuning for `length` (None = no recovery)."""
    return FineTune(length=length, lr_scale=lr_scale) if length else None


def one_shot(
    criterion: Criterion,
    scope: Scope,
    density: float,
    at: str,
    classifier: bool,
    recovery: Recovery | None = None,
    walk: Literal["whole", "blocks"] = "whole",
) -> Recipe:
    """Prune single weights once."""
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=criterion,
        scope=scope,
        allocator=Uniform(),
        schedule=OneShot(density=density, at=at),
        recovery=recovery,
        walk=walk,
    )


@method("dense", family="baselines")
def dense() -> Recipe:
    """Prune nothing: train the network as it is, the baseline of every table."""
    return Recipe(
        structure=Weights(),
        criterion=Magnitude(),
        scope=Model(),
        allocator=Uniform(),
        schedule=Never(),
    )


@method(
    "magnitude",
    family="after training",
    paper=HAN,
    authors="Han et al.",
    year=2015,
    arxiv="1506.02626",
)
def magnitude(
    density: float = 0.5,
    at: str = "100%",
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Keep the largest weights of the whole model, once, and fine-tune if asked.

    s_i = |w_i|, all layers compared with each other (global). `at="0it"` prunes before training.
    """
    recovery = fine_tuning(fine_tune, lr_scale)
    return one_shot(Magnitude(), Model(), density, at, classifier, recovery)


@method(
    "magnitude-layerwise",
    family="after training",
    paper=HAN,
    authors="Han et al.",
    year=2015,
    arxiv="1506.02626",
)
def magnitude_layerwise(
    density: float = 0.5,
    at: str = "100%",
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
    walk: Literal["whole", "blocks"] = "whole",
) -> Recipe:
    """Keep the largest weights of each layer, the same share everywhere.

    s_i = |w_i|, compared within the layer: no layer can be emptied, but thin layers lose as large
    a share as wide ones. `walk="blocks"` prunes a model from disk that is larger than memory.
    """
    recovery = fine_tuning(fine_tune, lr_scale)
    return one_shot(Magnitude(), Tensorwise(), density, at, classifier, recovery, walk)


@method("random", family="baselines")
def random(density: float = 0.5, at: str = "0it", classifier: bool = False) -> Recipe:
    """Keep random weights, the same share of every layer: what any criterion has to beat."""
    return one_shot(Random(), Tensorwise(), density, at, classifier)


@method(
    "erk",
    family="at initialisation",
    paper="Rigging the Lottery: Making All Tickets Winners",
    authors="Evci et al.",
    year=2020,
    arxiv="1911.11134",
)
def erk(density: float = 0.1, classifier: bool = False) -> Recipe:
    """Random masks before training, with Erdős–Rényi-Kernel densities.

    density_l ∝ (out + in + k_h + k_w) / (out · in · k_h · k_w), layers above 1 stay dense
    (Mocanu et al. 2018 without the kernel sizes). The official code also leaves the first layer
    and the classifier to their own shares; here the classifier is excluded unless asked for.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Random(),
        scope=Tensorwise(),
        allocator=Erk(),
        schedule=OneShot(density=density, at="0it"),
    )


@method(
    "smart-ratios",
    family="at initialisation",
    paper="Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot",
    authors="Su et al.",
    year=2020,
    arxiv="2009.11094",
)
def smart_ratios(density: float = 0.1, classifier: bool = False) -> Recipe:
    """Random masks before training, denser in early layers, whatever weights and data.

    density_l ∝ (L − l + 1)² + (L − l + 1) for layer l of L, layers above 1 stay dense. The paper keeps
    30 % of the classifier; here it is excluded unless asked for, and then counts as any other layer.
    """
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Random(),
        scope=Tensorwise(),
        allocator=SmartRatio(),
        schedule=OneShot(density=density, at="0it"),
    )


@method(
    "lamp",
    family="after training",
    paper="Layer-adaptive Sparsity for the Magnitude-based Pruning",
    authors="Lee et al.",
    year=2021,
    arxiv="2010.07611",
)
def lamp(
    density: float = 0.1,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Global magnitude with layer-adaptive scores.

    s_i = w_i² / Σ_{j: |w_j| ≥ |w_i|} w_j² within the layer; the largest weight of each layer
    scores 1, so no layer is ever emptied.
    """
    recovery = fine_tuning(fine_tune, lr_scale)
    return one_shot(Lamp(inner=Magnitude()), Model(), density, "100%", classifier, recovery)


@method(
    "taylor",
    family="after training",
    paper="Importance Estimation for Neural Network Pruning",
    authors="Molchanov et al.",
    year=2019,
    arxiv="1906.10771",
)
def taylor(
    density: float = 0.5,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Keep the weights whose removal would change the loss most, to first order.

    The paper pools over filters; here single weights are scored and compared globally.
    """
    recovery = fine_tuning(fine_tune, lr_scale)
    return one_shot(Taylor(), Model(), density, "100%", classifier, recovery)


@method(
    "obd",
    family="after training",
    paper="Optimal Brain Damage",
    authors="LeCun et al.",
    year=1990,
)
def obd(
    density: float = 0.5,
    draws: int = 8,
    fine_tune: str | None = None,
    lr_scale: float = 0.1,
    classifier: bool = False,
) -> Recipe:
    """Keep the weights whose removal would change the loss most, to second order.

    s_i = ½ |h_i| w_i², compared over the whole model, h the diagonal of the Hessian, which the paper
    propagates back in an approximation that is never negative; here it is estimated from `draws` random
    vectors of signs, each a pass over the data. The paper prunes a little, retrains and repeats.
    """
    recovery = fine_tuning(fine_tune, lr_scale)
    return one_shot(Obd(draws=draws), Model(), density, "100%", classifier, recovery)


@method(
    "nm",
    family="after training",
    paper="Accelerating Sparse Deep Neural Networks",
    authors="Mishra et al.",
    year=2021,
    arxiv="2104.08378",
)
def nm(
    n: int = 2,
    m: int = 4,
    fine_tune: str | None = "100%",
    lr_scale: float = 1.0,
    classifier: bool = False,
    walk: Literal["whole", "blocks"] = "whole",
) -> Recipe:
    """N:M sparsity after training: N non-zeros of every M consecutive inputs, then fine-tune.

    2:4 keeps the two largest of four. For a convolution the input channel is the consecutive
    dimension. Weights whose input count is no multiple of M stay dense (the plan names them). The
    paper repeats the whole training after pruning; `fine_tune` says for how long here. `walk="blocks"`
    with `fine_tune=None` prunes a model from disk that is larger than memory.
    """
    return Recipe(
        structure=Weights(classifier=classifier, inputs_multiple_of=m),
        criterion=Magnitude(),
        scope=NM(n=n, m=m),
        allocator=Uniform(),
        schedule=OneShot(density=n / m),
        recovery=fine_tuning(fine_tune, lr_scale),
        walk=walk,
    )
