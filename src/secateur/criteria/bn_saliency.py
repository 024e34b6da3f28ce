"""What a batch norm's scale and shift say a channel puts out, without data."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target


@register("bn-saliency")
class BnSaliency(Criterion):
    r"""s_u = E max(0, z) with z ~ N(β_u, γ_u²), = |γ| φ(β/|γ|) + β Φ(β/|γ|): the mean output after a ReLU.

    γ, β: scale and shift of the first batch norm that unit u runs through, φ and Φ: density and
    distribution of the standard normal. With `after="nothing"`, s_u = √(γ_u² + β_u²), the root of E z².
    A channel with a large scale but a shift far below zero puts out nothing, which |γ| does not see.

    Shapes: [target.shape] float64.

    Attributes:
        after: what follows the norm, `relu` or `nothing`.

    Paper: Kang, Han 2020, arXiv 2007.03938, which learns masks from Φ(β/|γ|), the chance that the
    ReLU lets a value pass, while training; here the mean of what passes ranks the channels.
    """

    speaks = "coupled"

    after: Literal["relu", "nothing"] = "relu"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] expected outputs."""
        scale, shift = (self._of(view, target, role) for role in ("scale", "shift"))
        if self.after == "nothing":
            return (scale.square() + shift.square()).sqrt().view(target.shape)
        size = scale.abs().clamp(min=1e-300)
        z = shift / size
        passed = torch.special.ndtr(z)
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        return (size * density + shift * passed).view(target.shape)

    def _of(self, view: View, target: Target, role: str) -> Tensor:
        """[units] the first norm's scale or shift."""
        for m in target.members:
            if m.role == role:
                return m.layout.matrix(view.weight(m.param).double())[:, 0]
        raise PlanError(
            f"criterion 'bn-saliency' judges units by their batch norm; '{target.name}' "
            f"({target.kind}) runs through none. Leave it out, or use 'magnitude'"
        )
