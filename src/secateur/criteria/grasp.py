"""GraSP: what a weight's removal does to the gradient flow."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("grasp")
class Grasp(ElementCriterion):
    r"""s_i = w_i · (H g)_i, signed: the higher, the more gradient flow goes with the weight.

    w: the weight, g and H: gradient and Hessian of the mean loss by all weights scored together.
    Removing w_i changes the gradient flow gᵀg by -2 w_i (H g)_i to first order: weights with a
    large positive score carry it and stay; those with the most negative score hinder it and go
    first. Larger units sum their elements, which is first order for the unit as a whole.

    Attributes:
        temperature: the logits are divided by it before the loss, which flattens the softmax of an
            untrained network; the model must then return a tensor of logits.

    Shapes: elements [shape of the parameter], float32 or wider.

    Paper: Wang, Zhang, Grosse 2020, arXiv 2002.07376. It defines the score with the other sign, as
    -w ∘ Hg, and removes the highest; so does the official code, at temperature 200, after drawing
    new weights for the linear layers and on 10 samples of each class (more with its options).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"hessian_gradient"})

    temperature: float = Field(default=200.0, gt=0, allow_inf_nan=False)

    def required(self) -> frozenset[str]:
        """The product at this temperature."""
        return frozenset({self._statistic})

    @property
    def _statistic(self) -> str:
        return f"hessian_gradient:{self.temperature:.12g}"

    def elements(self, view: View, param: str) -> Tensor:
        """w · Hg, signed."""
        weight = view.weight(param)
        return weight.to(wide(weight)) * view.stat(self._statistic, param)
