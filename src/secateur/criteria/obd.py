"""Optimal brain damage: the loss to second order, with the diagonal of the Hessian alone."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register


@register("obd")
class Obd(ElementCriterion):
    r"""s_i = ½ |h_i| w_i², h the diagonal of the Hessian of the mean loss.

    w: the weight. h is estimated by `draws` random vectors of signs (Hutchinson), h = mean v ∘ Hv,
    exact where the Hessian is diagonal. Larger units sum their elements.

    Shapes: elements [shape of the parameter], float32 or wider.

    Attributes:
        draws: random vectors, each a pass over the data.

    Paper: LeCun, Denker, Solla 1990, Optimal Brain Damage, which propagates h back in an approximation
    that is never negative. The estimate, Hutchinson's as in Yao et al. 2020, arXiv 2006.00719, is as often
    negative as positive where h is small; signed, it would take large weights first.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"hessian_diagonal"})

    draws: int = Field(default=8, ge=1)

    def required(self) -> frozenset[str]:
        """The diagonal from this many draws."""
        return frozenset({f"hessian_diagonal:{self.draws}"})

    def elements(self, view: View, param: str) -> Tensor:
        """½ |h| w²."""
        (statistic,) = self.required()
        weight = view.weight(param)
        return view.stat(statistic, param).abs() * weight.to(wide(weight)).square() / 2
