"""Balanced: every tensor of a coupled unit has the same say."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..core.axes import Criterion, View
from ..core.component import register
from ..core.types import Target
from .taylor import Taylor


@register("balanced")
class Balanced(Criterion):
    r"""s_u = Σ_W inner_u(W) / ‖inner(W)‖₂ over the tensors W of the target.

    inner_u(W): the inner criterion's score of the part of unit u that lies in W alone; ‖inner(W)‖₂: of all
    units' scores. A tensor whose scores are all zero says nothing. What is a slice of one tensor twice (a
    head in a fused projection) counts as one.

    Shapes: [target.shape].

    Attributes:
        inner: what scores the parts.

    Paper: Zhang, Chen, Shen, Yang, Ou, Yu, Zhuang 2023, arXiv 2305.18403; the official code does so, the
    paper's formula has a plain sum.
    """

    inner: Criterion = Taylor(order="absolute")

    def required(self) -> frozenset[str]:
        """What the inner criterion needs."""
        return self.inner.required()

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the parts' shares, added up."""
        total = torch.zeros(())
        for param in dict.fromkeys(m.param for m in target.members):
            own = tuple(m for m in target.members if m.param == param)
            part = self.inner.score(view, replace(target, members=own))
            size = torch.linalg.vector_norm(part)
            total = total.to(part) + torch.where(size > 0, part / size, 0)
        return total
