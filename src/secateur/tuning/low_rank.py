"""Low-rank: the main training trains adapters, and the network is pruned meanwhile."""

from __future__ import annotations

from ..core.component import register
from ..core.training import Adapting, Tuning


@register("low-rank")
class LowRank(Adapting, Tuning):
    """W + (alpha / rank) B A with A [rank, in] and B [out, rank] trained, W frozen, merged at the end.

    What an update removes gets no adapter weights from then on, so that removed structures stay removed;
    masks of single weights cannot hold in a merged product and are refused. Of the rest of the network
    nothing is trained.

    Paper: Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen 2021, arXiv 2106.09685; pruned meanwhile: Zhang,
    Chen, Shen, Yang, Ou, Yu, Zhuang 2023, arXiv 2305.18403, whose rank is 8 with alpha 16.
    """
