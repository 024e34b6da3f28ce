"""Erdős–Rényi densities: small layers stay denser than wide ones."""

from __future__ import annotations

import torch
from pydantic import Field

from ..core.axes import View
from ..core.component import register
from ..core.errors import PlanError
from ..core.types import Target
from .by_layer import ByLayer


@register("erk")
class Erk(ByLayer):
    """density_l = min(1, c ((out + in + k_h + k_w) / (out in k_h k_w))^power_scale), total exact.

    out, in, k: sizes of the layer's weight; c is such that the total is round(density * n), so
    layers that would exceed 1 stay dense and the others make up for it. Without kernel sizes
    (`kernel=False`, ER) a layer's scale is ((out + in) / (out in))^power_scale.

    Attributes:
        power_scale: 0 gives every layer the same density, 1 the paper's.
        kernel: whether the kernel's sizes count (ERK) or not (ER).

    Paper: Mocanu et al. 2018, arXiv 1707.04780 (ER); Evci et al. 2020, arXiv 1911.11134 (ERK).
    """

    power_scale: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    kernel: bool = True

    @property
    def by_sizes(self) -> bool:
        """Yes."""
        return True

    def scales(self, view: View) -> list[float]:
        """By the sizes of each layer's weight."""
        return [self._scale(target, view) for target in view.targets]

    def _scale(self, target: Target, view: View) -> float:
        """The layer's density up to the common factor."""
        param = target.members[0].param
        shape = torch.tensor(view.weight(param).shape, dtype=torch.float64)
        if len(shape) < 2:
            raise PlanError(
                f"allocator 'erk' needs weights with outputs and inputs; '{param}' has shape "
                f"{tuple(shape.long().tolist())}. Exclude it or use 'uniform'"
            )
        sizes = shape if self.kernel else shape[:2]
        return float((sizes.sum() / sizes.prod()) ** self.power_scale)
