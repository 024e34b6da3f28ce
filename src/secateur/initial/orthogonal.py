"""Orthogonal matrices: signals keep their length through a linear layer."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.training import Initial


@register("orthogonal")
class Orthogonal(Initial):
    """W Wᵀ = gain² I or Wᵀ W = gain² I, whichever side is the shorter; W [out, in · kernel].

    A random matrix of that kind, uniform over all of them: Q of the QR decomposition of a normal matrix,
    the signs of its columns set by the diagonal of R.

    Attributes:
        gain: the length that a vector of length 1 comes out with.

    Paper: Saxe, McClelland, Ganguli 2014, arXiv 1312.6120; before pruning: Lee, Ajanthan, Gould, Torr
    2020, arXiv 1906.06307.
    """

    gain: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def weights(self, shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> Tensor:
        """Drawn anew."""
        rows, columns = shape[0], math.prod(shape[1:])
        tall = torch.randn(max(rows, columns), min(rows, columns), generator=rng).double()
        q, r = torch.linalg.qr(tall)
        q = q * r.diagonal().sign()
        return (self.gain * (q if rows >= columns else q.T)).float().reshape(shape)
