"""Pruning together with other ways to make a network small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..allocation import Given, Uniform
from ..core.cards import method, shared_options
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..criteria import Magnitude
from ..precision import Integers, SharedWeights
from ..schedule import Iterative, OneShot, Repeat
from ..scope import Tensorwise
from ..structure import Weights
from .basic import fine_tuning


@method(
    "deep-compression",
    family="fusion",
    paper="Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and "
    "Huffman Coding",
    authors="Han et al.",
    year=2016,
    arxiv="1510.00149",
)
def deep_compression(
    density: float = 0.1,
    layers: Mapping[str, float] | None = None,
    rounds: int = 1,
    fine_tune: str | None = "10ep",
    lr_scale: float = 0.1,
    bits: int = 5,
    conv_bits: int = 8,
    init: Literal["linear", "density", "random"] = "linear",
    tune: str | None = "2ep",
    tune_lr_scale: float = 0.001,
    classifier: bool = True,
) -> Recipe:
    """Prune and fine-tune, let the weights of a layer share few values and train those, code them.

    First the largest |w| of each layer stay, `density` of all, in `rounds` with fine-tuning after each; of
    layers that `layers` names (pattern -> density) as much as it says. Then k-means makes 2^bits - 1 values
    of what is left of each layer (`conv_bits` of convolutions), and for `tune` each value follows the sum
    of the gradients of its weights, at `tune_lr_scale` times the training's learning rate. Saved, such a
    layer is a codebook with Huffman-coded indices, and Huffman-coded distances between kept weights
    (`artifact.shared`): any compact artifact of the result.

    The paper finds each layer's density by a threshold; its quality times the layer's standard
    deviation is method `han`, to which `share` and `tune` add the rest. Rates are not in the paper.
    """
    allocator = Uniform() if layers is None else Given(densities=layers, default=density)
    schedule: Any = Repeat(rounds=rounds)
    if layers is None:
        one = OneShot(density=density)
        schedule = one if rounds == 1 else Iterative(density=density, rounds=rounds)
    elif rounds != 1:
        raise PlanError("densities by layer are reached in one round; leave rounds out, or layers")
    return Recipe(
        structure=Weights(classifier=classifier),
        criterion=Magnitude(),
        scope=Tensorwise(),
        allocator=allocator,
        schedule=schedule,
        recovery=fine_tuning(fine_tune, lr_scale),
        precision=SharedWeights(
            bits=bits, conv_bits=conv_bits, init=init, length=tune, lr_scale=tune_lr_scale
        ),
    )


@shared_options("share", "quantise", "tune")
def with_few_values(recipe: Recipe, own: Mapping[str, Any], **given: Any) -> Recipe:
    """The same recipe whose weights take few values in the end, trained as such for `tune`.

    `share`: 2^`share` - 1 values a layer, found by k-means; `quantise`: integers of 8 or 4 bits.
    """
    if recipe.precision is not None:
        raise PlanError(
            f"{', '.join(given)}: the method has precision '{recipe.precision}' already, which would be left "
            "out; use the method's own options, or share and quantise with another method"
        )
    bits: dict[str, Any] = {n: given[n] for n in ("share", "quantise") if n in given}
    if len(bits) != 1:
        raise PlanError(
            "give share (bits of the values that weights share, 1 to 8) or quantise (8 or 4), one of them; "
            "tune says how long to train with it"
        )
    _check_bits(bits)
    length = given.get("tune")
    if "share" in bits:
        n = bits["share"]
        made: Any = SharedWeights(bits=n, conv_bits=n, length=length, lr_scale=0.001)
    else:
        made = Integers(bits=bits["quantise"], length=length)
    return Recipe(**{**dict(recipe), "precision": made})


def _check_bits(given: Mapping[str, Any]) -> None:
    """Refuse other numbers of bits than there are, in the words of the option."""
    ((option, bits),) = given.items()
    allowed, said = {
        "share": (
            range(1, 9),
            "a whole number from 1 to 8, the bits of the values that weights share",
        ),
        "quantise": ((4, 8), "8 or 4, the bits of the integers"),
    }[option]
    if type(bits) is not int or bits not in allowed:
        raise PlanError(f"{option} takes {said}; got {bits!r}")
