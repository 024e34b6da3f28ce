"""What an agent sees of a layer: its sizes, its work, and what has been decided before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.axes import View
from ..core.types import Target
from .layers import Counts
from .priced import Priced


@dataclass(frozen=True, eq=False)
class Features:
    """Eleven numbers for each layer and moment.

    Attributes:
        fixed: [layers, 8] t, n, c, h, w, stride, k, FLOPs, each scaled to 0 … 1 over the layers.
        work: [layers] multiplications of each.
        space: what is left costs.
    """

    fixed: Tensor
    work: Tensor
    space: Priced

    @property
    def count(self) -> int:
        """How many numbers."""
        return self.fixed.shape[1] + 3

    def state(self, layer: int, counts: Counts, previous: float) -> list[float]:
        """(… , reduced, rest, a_{t−1}) before layer t is decided.

        Args:
            layer: t.
            counts: units of each layer, of which those before t are decided.
            previous: the fraction that the layer before keeps; 1 before the first.
        """
        most = self.space.layers.most
        whole = self.space.cost(most)
        reduced = 1 - self.space.cost((*counts[:layer], *most[layer:])) / whole
        rest = float(self.work[layer + 1 :].sum() / self.work.sum())
        return [*self.fixed[layer].tolist(), reduced, rest, previous]


def features_of(view: View, space: Priced) -> Features:
    """Of the layers that write the units of each target."""
    rows = [_row(view, t, target) for t, target in enumerate(view.targets)]
    table = torch.tensor(rows, dtype=torch.float64)  # [layers, 8]
    low, high = table.min(0).values, table.max(0).values
    scaled = (table - low) / torch.where(high > low, high - low, 1.0)
    fixed = torch.where(high > low, scaled, table)
    return Features(fixed, table[:, -1], space)


def _row(view: View, t: int, target: Target) -> list[float]:
    """t, n, c, h, w, stride, k and FLOPs = n c k² · places of the layer."""
    param = _writer(view, target)
    size: dict[str, float] = {"out": 1.0, "in": 1.0}
    for word, n in zip(view.dims(param), view.weight(param).shape, strict=True):
        size[word] = n if word == "k" else size.get(word, 1.0) * n
    h, w, stride, places = view.stat("layer_sizes", param).tolist()
    flops = view.weight(param).numel() * places
    return [t, size["out"], size["in"], h, w, stride, size.get("k", 1.0), flops]


def _writer(view: View, target: Target) -> str:
    """The weight that writes the units: the first with two dimensions that reads none of them."""
    weights = [m for m in target.members if view.weight(m.param).dim() > 1]
    return next((m.param for m in weights if m.reads is None), weights[0].param)
