"""Erdős–Rényi densities: small layers stay denser than wide ones."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Allocator, View
from ..core.component import register
from ..core.density import share
from ..core.errors import PlanError
from ..core.types import Groups, Scores, Target
from .budget import alive, total


@register("erk")
class Erk(Allocator):
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

    @property
    def across_targets(self) -> bool:
        """A layer's share depends on the sizes of all."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """A density per layer."""
        return frozenset({"tensor"})

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep, one group per target."""
        assert density is not None
        scale = torch.zeros(len(groups.size), dtype=torch.float64)
        for target in view.targets:
            scale[groups.first[target.name]] = self._scale(target, view)
        left = alive(scores, groups)
        return share(scale * groups.size, total(groups, density), left)

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
