"""Soft masks without parameters of their own."""

from __future__ import annotations

from ..allocation import Uniform
from ..core.axes import Scope, Structure
from ..core.cards import method
from ..core.recipe import Recipe
from ..criteria import Magnitude
from ..gates import SoftMagnitude
from ..schedule import Linear
from ..scope import NM, Model, Tensorwise
from ..structure import Weights

PDP = "PDP: Parameter-free Differentiable Pruning is All You Need"


def _soft(structure: Structure, scope: Scope, schedule: Linear, temperature: float) -> Recipe:
    """Magnitude behind masks that are soft near their threshold."""
    return Recipe(
        structure=structure,
        criterion=Magnitude(),
        scope=scope,
        allocator=Uniform(),
        schedule=schedule,
        gate=SoftMagnitude(temperature=temperature),
    )


@method(
    "pdp", family="while training", paper=PDP, authors="Cho et al.", year=2023, arxiv="2305.11203"
)
def pdp(
    density: float = 0.1,
    temperature: float = 1e-4,
    begin: str = "10%",
    end: str = "75%",
    every: str = "1ep",
    across: bool = True,
    classifier: bool = False,
) -> Recipe:
    """Train with w · m(w), m a soft mask that the weights' own sizes make; nothing else is learned.

    m(w) = exp(w² / τ) / (exp(w² / τ) + exp(t² / τ)), τ = `temperature`: ½ where |w| = t, the middle between
    the smallest weight of a layer that is to stay and its largest that is to go. Weights follow the
    derivative of w · m(w), so that those near t are pushed to one side or the other, and those that are out
    come back where the loss asks for it. The fraction that stays falls in equal steps from `begin` to
    `end`, at every `every`; when training ends m becomes 0 or 1.

    The paper ranks all weights once, after its warm-up, to find each layer's share, and each layer
    steps down to it; here weights are ranked over the model at every step (`across`), or every layer keeps
    the same share. t has no gradient here; whether it has in the paper was not verified, nor was the
    official code seen. Its form for channels is not here.
    """
    schedule = Linear(density=density, begin=begin, end=end, every=every)
    scope: Scope = Model() if across else Tensorwise()
    return _soft(Weights(classifier=classifier), scope, schedule, temperature)


@method(
    "pdp-nm",
    family="while training",
    paper=PDP,
    authors="Cho et al.",
    year=2023,
    arxiv="2305.11203",
)
def pdp_nm(
    n: int = 2,
    m: int = 4,
    temperature: float = 1e-4,
    begin: str = "10%",
    end: str = "75%",
    every: str = "1ep",
    classifier: bool = False,
) -> Recipe:
    """`pdp` for N:M sparsity: the threshold of a weight is that of its M consecutive inputs.

    N counts NON-ZEROS. While the fraction falls to N / M, some runs of M keep one more than others. For a
    convolution the input channel is the consecutive dimension. Weights whose inputs are no multiple
    of M stay dense.
    """
    schedule = Linear(density=n / m, begin=begin, end=end, every=every)
    structure = Weights(classifier=classifier, inputs_multiple_of=m)
    return _soft(structure, NM(n=n, m=m), schedule, temperature)
