"""Channel LASSO: the penalty at which a unit is no longer needed to rebuild the next layer's output."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target
from .responses import entries, response_gram, response_target


@register("channel-lasso")
class ChannelLasso(Criterion):
    r"""s_u = the largest λ with β_u(λ) ≠ 0, β(λ) = argmin ½ E‖y − Σ_v β_v z_v‖² + λ ‖β‖₁.

    z_v = W_v x_v: what unit v adds to the output of the layers that read it, y: what these put out before
    anything was removed (with walk `layers`; with walk `whole` y = Σ z_v). The path of β is followed
    exactly as λ falls from where nothing is left; λ is relative to that, so that 1 is the best unit.

    Shapes: [target.shape] float64.

    Attributes:
        aim: y as the layers put it out, or with `sum` what brings the sums they go into back (see
            solver `least-squares`).

    Paper: He, Zhang, Sun 2017, arXiv 1707.06168, which raises λ until few enough are left.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "output_cross", "sum_cross"})
    speaks: ClassVar[Speaks] = "coupled"

    aim: Literal["output", "sum"] = "output"

    def required(self) -> frozenset[str]:
        """The inputs, and what is aimed at."""
        return frozenset({"input_gram", f"{self.aim}_cross"})

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] penalties, relative."""
        gram = response_gram(view, target)
        wanted = response_target(view, target, f"{self.aim}_cross")
        top = wanted.abs().max().clamp(min=1e-300)
        return (entries(gram, wanted) / top).view(target.shape)
