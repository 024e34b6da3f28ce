"""HRank: feature maps of low rank carry little."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.reads import readers
from ..core.types import Target


@register("hrank")
class HRank(Criterion):
    r"""s_u = (1/n) Σ_x rank(X_u(x)), X_u(x) the map [H, W] that unit u puts out for image x.

    Maps are taken where the first later layer reads them, after norm and activation. The rank
    counts singular values above max(H, W) · ε · σ_max with ε of float32 (the statistic
    `input_rank`); units that a linear layer reads as several features take the mean of theirs.

    Shapes: [target.shape] float64.

    Paper: Lin, Ji, Wang, Zhang, Zhang, Tian, Shao 2020, arXiv 2002.10179; about 500 images are
    enough, it says. The official code reads the maps after each activation too.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_rank"})
    speaks: ClassVar[Speaks] = "coupled"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the mean rank."""
        reader = readers(view, target)[0]
        ranks = view.stat("input_rank", reader.param)
        return ranks[reader.features.to(ranks.device)].mean(1).view(target.shape)
