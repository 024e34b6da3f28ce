"""Weight sharing: the weights of a layer are a few values, found by k-means and trained as such."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..core.component import register
from ..core.precision import Dims, Precision
from .clusters import Init, Values, first_centroids, k_means, nearest


@register("shared")
class SharedWeights(Precision):
    """The kept weights of each layer become k = 2^bits centroids: minimise Σ_c Σ_{w in c} (w - c)².

    k-means from the weights as they are; which weights share a value then never changes. While the network
    trains each centroid follows the sum of its weights' gradients, ∂L/∂c = Σ_{w in c} ∂L/∂w, and pruned
    weights stay zero. Layers are clustered apart; one with fewer than 2 (2^bits - 1) kept weights has a value
    for every two of them, and one that takes no more values than that keeps them.

    Attributes:
        bits: of the values of all layers but convolutions, 1 to 8.
        conv_bits: of those of convolutions.
        init: where the centroids begin: `linear` from the least weight to the largest, which the
            paper finds best as it spares the few large weights; `density` where there are many weights;
            `random` weights.
        length, lr_scale, exclude: as in every precision; gradients are summed over many weights, so
            the rate has to be small.

    Paper: Han, Mao, Dally 2016, arXiv 1510.00149, with 8 bits for convolutions and 5 for the rest (6
    in LeNet-300-100). One of its 2^bits values is the zero of what is padded, so that 2^bits - 1 are left.
    """

    bits: int = Field(default=5, ge=1, le=8, strict=True)
    conv_bits: int = Field(default=8, ge=1, le=8, strict=True)
    init: Init = "linear"

    def start(
        self, weight: Tensor, keep: Tensor, dims: Dims, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """`index`: which centroid each element belongs to; that of pruned ones means nothing."""
        index = torch.zeros(weight.shape, dtype=torch.uint8, device=weight.device)
        values = weight[keep].double().cpu().numpy()  # [kept]
        if values.size:
            bits = self.conv_bits if "k" in dims else self.bits
            k = max(1, min(2**bits - 1, values.size // 2))
            draw = np.random.default_rng(int(torch.randint(2**31, (), generator=rng)))
            centroids = self._centroids(values, k, draw)
            belongs = nearest(values, centroids).astype(np.uint8)
            index[keep] = torch.from_numpy(belongs).to(index.device)
        return {"index": index}

    def _centroids(self, values: Values, k: int, draw: np.random.Generator) -> Values:
        """[k or fewer] in ascending order; the values themselves where they are no more."""
        ordered = np.sort(values)
        distinct = np.unique(ordered)
        if distinct.size <= k:
            return distinct
        return np.sort(k_means(ordered, first_centroids(ordered, k, self.init, draw)))

    def coded(self, weight: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """The mean of each cluster, in the place of all its weights."""
        total, count, index = _by_cluster(weight, keep, decided["index"])
        return torch.where(keep, (total / count.clamp(min=1))[index].to(weight.dtype), 0)

    def passes(self, gradient: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """The sum over each cluster, for all its weights: they go on together."""
        total, _, index = _by_cluster(gradient, keep, decided["index"])
        return torch.where(keep, total[index].to(gradient.dtype), 0)

    def once(self, passed: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """[256] the gradient of each centroid, which all its weights were given."""
        total, count, _ = _by_cluster(passed, keep, decided["index"])
        return (total / count.clamp(min=1)).to(passed.dtype)


def _by_cluster(values: Tensor, keep: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """([256] sums, [256] counts) of what is kept, and the index as whole numbers."""
    whole = index.long()
    total = torch.zeros(256, dtype=torch.float64, device=values.device)
    total.index_add_(0, whole[keep], values[keep].double())
    return total, torch.bincount(whole[keep], minlength=256).double(), whole
