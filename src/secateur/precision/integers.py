"""Integers: weights that are whole multiples of a step, trained with the rounding in force."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.errors import PlanError
from ..core.extras import need
from ..core.integers import Bits, rounded
from ..core.precision import Dims, Precision


@register("integers")
class Integers(Precision):
    """coded(w) = s round(w / s), with s = max |w| / (2^(bits - 1) - 1) over each output channel.

    Quantisation-aware training where there is a `length`: every step computes with rounded weights, s taken
    anew, and the gradient passes the rounding straight through to w, but for pruned weights, which are
    zero and stay so (zero is on every grid). Activations and biases stay as they are. `sc.export(...,
    to="torchao")` then writes the integers themselves.

    Attributes:
        bits: 8 or 4.
        length, lr_scale, exclude: as in every precision.

    Paper: Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko 2017, arXiv 1712.05877, of weights
    only; the rounding is torchao's. Needs the extra `quant`.
    """

    bits: Bits = 8
    lr_scale: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    def check(self, weights: Mapping[str, Tensor], dims: Mapping[str, Dims]) -> None:
        """Steps belong to output channels, which have to be the first dimension; doubles have none."""
        need("torchao.quantization", "precision 'integers'")
        turned = [name for name, words in dims.items() if words[0] != "out"]
        if turned:
            raise PlanError(
                f"precision 'integers' has a step for each output channel, the first dimension; {turned[0]} "
                f"is stored as {list(dims[turned[0]])}. Exclude {'it' if len(turned) == 1 else 'these'}: in "
                f"the recipe, precision=Integers(bits={self.bits}, exclude={tuple(turned[:3])})"
            )
        double = next((name for name, w in weights.items() if w.dtype is torch.float64), None)
        if double is not None:
            raise PlanError(
                f"precision 'integers' rounds float32, bfloat16 and float16, and {double} is float64; "
                "convert the network with model.float(), or let its weights share values"
            )

    def coded(self, weight: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """s · round(w / s)."""
        return rounded(weight, self.bits)
