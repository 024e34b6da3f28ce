"""Coupled Taylor: what the loss changes, to first and second order, when a whole unit goes."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.axes import Criterion, View, wide
from ..core.component import register
from ..core.types import Target


@register("coupled-taylor")
class CoupledTaylor(Criterion):
    r"""s_u = group over the tensors of u of Σ_i |t_i| (aggregate `element`) or |Σ_i t_i| (`vector`).

    t_i = w_i g_i − ½ F_i w_i² (order `mixed`), w_i g_i (`first`) or F_i w_i² (`second`) for the
    elements i of a tensor that u owns; g: the gradient of the mean loss, F: the mean of the batches'
    squared gradients, Fisher's diagonal where a batch is one sample. `group`: sum, mean, max, prod,
    or last (the tensor that runs last).

    Shapes: [target.shape], float32 or wider.

    Paper: Ma, Fang, Wang 2023, arXiv 2305.11627, where F is a sum; the code has the mean, as here.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "gradient_squared"})

    order: Literal["mixed", "first", "second"] = "mixed"
    aggregate: Literal["element", "vector"] = "element"
    group: Literal["sum", "mean", "max", "prod", "last"] = "sum"

    def required(self) -> frozenset[str]:
        """The gradients that the order asks for."""
        one = {"first": {"gradient"}, "second": {"gradient_squared"}}
        return frozenset(one.get(self.order, self.needs))

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] one number per tensor, put together as `group` says."""
        owned: dict[str, list[Tensor]] = {}
        for m in target.members:
            owned.setdefault(m.param, []).append(m.layout.matrix(self._change(view, m.param)))
        sizes = [self._size(torch.cat(parts, 1)) for parts in owned.values()]
        each = torch.stack(sizes)  # [tensors, units]
        if self.group == "last":
            return each[-1].view(target.shape)
        found: Tensor = each.amax(0) if self.group == "max" else getattr(each, self.group)(0)
        return found.view(target.shape)

    def _change(self, view: View, param: str) -> Tensor:
        w = view.weight(param).to(wide(view.weight(param)))
        first = w * view.stat("gradient", param) if self.order != "second" else w * 0
        second = w.square() * view.stat("gradient_squared", param) if self.order != "first" else 0
        return first - second / 2 if self.order == "mixed" else first + second

    def _size(self, change: Tensor) -> Tensor:
        return change.abs().sum(1) if self.aggregate == "element" else change.sum(1).abs()
