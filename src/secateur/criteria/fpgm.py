"""FPGM: a filter near the geometric median of its layer can be spared, for the others stand in."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target


@register("fpgm")
class Fpgm(Criterion):
    r"""s_u = Σ_v ‖w_u − w_v‖₂ over the units v of the target that are still there.

    w_u: the slice of unit u in the first tensor it runs through, e.g. its filter. The filter with
    the smallest sum is the one nearest to the geometric median of all; redundant filters go, be
    they large or small.

    Shapes: [target.shape] float64.

    Paper: He, Liu, Wang, Hu, Yang 2019, arXiv 1811.00250. The paper zeroes filters softly after
    every epoch of training and mixes in a share of filters with small norms; the criterion is the same.
    """

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the sum of the distances."""
        first = target.members[0].param
        weight = view.weight(first).double()
        parts = [m.layout.matrix(weight) for m in target.members if m.param == first]
        filters = torch.cat(parts, 1)  # [units, elements]
        apart = torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist")
        there = view.masks[target.name].flatten().to(apart)
        return (apart @ there).view(target.shape)
