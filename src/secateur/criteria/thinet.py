"""ThiNet: remove one unit after the other, each time the one whose loss the next layer feels least."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target
from .responses import response_gram


@register("thinet")
class ThiNet(Criterion):
    r"""s_u = (place of u in the greedy order) / units, the order of removal T with least E‖Σ_{v∈T} z_v‖².

    z_v = W_v x_v: what unit v adds to the output of the layers that read it. The next to go is the u
    with the smallest A_uu + 2 Σ_{v∈T} A_uv, A the Gram matrix of the z. Units that are gone have
    place 0; of equals the one with the higher index goes first.

    Shapes: [target.shape] float64.

    Paper: Luo, Wu, Lin 2017, arXiv 1707.06342, on a sample of output places and entries; here on all
    of them, through the Gram matrix of the layer's inputs.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram"})
    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] places in the order, relative."""
        gram = response_gram(view, target)
        there = view.masks[target.name].flatten().to(gram.device).clone()
        score = torch.zeros(target.units, dtype=torch.float64, device=gram.device)
        extra = gram.diagonal() + 2 * gram[:, ~there].sum(1)  # what the error grows by
        for place in range(target.units - int(there.sum()) + 1, target.units + 1):
            cost = extra.masked_fill(~there, torch.inf)
            u = target.units - 1 - int(cost.flip(0).argmin())  # of equals the last
            score[u], there[u] = place / target.units, False
            extra = extra + 2 * gram[:, u]
        return score.view(target.shape)
