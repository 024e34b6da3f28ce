"""Channel LASSO: the penalty at which a unit is no longer needed to rebuild the next layer's output."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target
from .responses import entries, response_gram


@register("channel-lasso")
class ChannelLasso(Criterion):
    r"""s_u = the largest λ with β_u(λ) ≠ 0, β(λ) = argmin ½ E‖Σ_v (1 − β_v) z_v‖² + λ ‖β‖₁.

    z_v = W_v x_v: what unit v adds to the output of the layers that read it. The path of β is followed
    exactly as λ falls from where nothing is left; λ is relative to that, so that 1 is the best unit.

    Shapes: [target.shape] float64.

    Paper: He, Zhang, Sun 2017, arXiv 1707.06168, which raises λ until few enough are left and
    takes new inputs after every layer; here all layers are judged in the network as it is.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram"})
    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] penalties, relative."""
        gram = response_gram(view, target)
        wanted = gram.sum(1)  # E z_uᵀ y with y = Σ z
        top = wanted.abs().max().clamp(min=1e-300)
        return (entries(gram, wanted) / top).view(target.shape)
