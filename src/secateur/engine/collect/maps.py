"""The rank of the feature maps that enter a layer."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...core.errors import PlanError
from .observing import Accumulator, per_input


@per_input("input_rank")
class Rank(Accumulator):
    r"""r_c = (1/n) Σ_x rank(X_c(x)), X_c(x) [H, W] the map of channel c for image x.

    The rank counts the singular values above max(H, W) · ε · σ_max, with ε of float32: rounding
    noise of a convolution in single precision has no rank. A vector's entry is a map of one by one,
    whose rank says whether it is zero.

    Shapes: [channels] float64.
    """

    form: ClassVar[Literal["rows", "maps"]] = "maps"
    total: Tensor | float = 0.0
    images: int = 0

    def add(self, values: Tensor) -> None:
        """Add the ranks of [n, channels, H, W] maps, or of [n, channels] entries."""
        if values.dim() not in (2, 4):
            raise PlanError(
                f"ranks are of images' feature maps [n, channels, H, W], not of {values.dim()} "
                "dimensions; use another statistic"
            )
        maps = values if values.dim() == 4 else values[..., None, None]
        tolerance = max(maps.shape[-2:]) * torch.finfo(torch.float32).eps
        ranks = torch.linalg.matrix_rank(maps, rtol=tolerance)  # [n, channels]
        self.total = self.total + ranks.sum(0, dtype=torch.float64)
        self.images += len(values)

    def value(self) -> Tensor:
        """The mean rank over all images."""
        assert isinstance(self.total, Tensor)
        return self.total / self.images
