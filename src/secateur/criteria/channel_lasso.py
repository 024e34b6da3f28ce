"""Channel LASSO: the penalty at which a unit is no longer needed to rebuild the next layer's output."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target
from .responses import lasso, response_gram


@register("channel-lasso")
class ChannelLasso(Criterion):
    r"""s_u = the largest λ with β_u(λ) ≠ 0, β(λ) = argmin ½ E‖Σ_v (1 − β_v) z_v‖² + λ ‖β‖₁.

    z_v = W_v x_v: what unit v adds to the output of the layers that read it. The penalty falls from
    the one that leaves nothing by `steps` equal factors to a ten-thousandth of it; within a step
    larger |β| comes first. λ is relative to its largest value, so that 1 is the best unit.

    Shapes: [target.shape] float64.

    Attributes:
        steps: penalties that are tried.

    Paper: He, Zhang, Sun 2017, arXiv 1707.06168, which raises λ until few enough are left and
    takes new inputs after every layer; here all layers are judged in the network as it is.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram"})
    speaks: ClassVar[Speaks] = "coupled"

    steps: int = Field(default=100, ge=2)

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] penalties, relative."""
        gram = response_gram(view, target)
        wanted = gram.sum(1)  # E z_uᵀ y with y = Σ z
        top = float(wanted.abs().max())
        score, beta = torch.zeros_like(wanted), torch.zeros_like(wanted)
        factor = 1e-4 ** (1 / (self.steps - 1))
        for k in range(self.steps if top > 0 else 0):
            beta = lasso(gram, wanted, top * factor**k * (1 - 1e-9), beta)
            new = (beta != 0) & (score == 0)
            rank = beta.abs() / beta.abs().max().clamp(min=1e-300)  # (0, 1], within a step
            score = torch.where(new, factor**k * (factor + (1 - factor) * rank), score)
        return score.view(target.shape)
