"""SparseGPT: remove column by column, and let the later columns make up for it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Solver, View, wide
from ..core.component import register
from ..core.errors import PlanError
from ..core.matrix import matrix, unmatrix
from ..core.types import Groups, Target
from .budget import Budget, budget_of
from .hessian import Factor, factorise
from .sweep import sweep


@register("sparsegpt")
class SparseGPT(Solver):
    r"""Ŵ ← argmin ‖W X − Ŵ X‖² column by column: δ_k = (w_j − ŵ_j) U_jk / U_kk for k > j, H = U Uᵀ.

    H = X Xᵀ / n + λ I over all tokens (`input_gram`), U upper triangular, λ = damping × mean diagonal.
    In every run of `block` columns the weights with the smallest (w_j U_jj)² = w_j² / [H_F⁻¹]_jj go, F
    the columns from j on: as many as the budget of their tensor or row has room for, in exact numbers;
    for N:M in every M columns when the sweep reaches them. What a column loses moves into the columns
    after it. The paper writes the same with the factor of H⁻¹; H's own saves the inverse.

    It owns the selection: criterion and scope decide how many stay in each tensor, row or run of M
    inputs, the solver decides which. Inputs that were always 0 lose their weights. Where H is not
    positive definite, λ is raised tenfold until it is; the record names λ, dead inputs and samples.

    Shapes: W [out, in] (experts one by one, kernels flattened), H [in, in] float32 or wider.

    Attributes:
        block: columns that are selected together, 128 in the paper.
        damping: λ over the mean of H's diagonal, 0.01 in the paper.
        act_order: take inputs with a large diagonal first (as GPTQ does), so that the weights that
            matter most are decided while all others can still make up for them; not with N:M.

    Paper: Frantar, Alistarh 2023, arXiv 2301.00774. The official code compares with a threshold, so
    that ties may remove more; it has no act order and gives up where Cholesky fails.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "input_rows"})
    owns_selection: ClassVar[bool] = True

    block: int = Field(default=128, ge=1)
    damping: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    act_order: bool = False

    def solve(self, target: Target, proposal: Tensor, groups: Groups, view: View) -> Tensor:
        """The mask of the target; the changed weight is written into the view."""
        param = _param(target)
        weight, dims = view.weight(param), view.dims(param)
        rows = matrix(weight.to(wide(weight)), dims)  # [..., out, in]
        budget = budget_of(groups.layouts[target.name], matrix(proposal, dims), target.name)
        gram = view.stat("input_gram", param).to(rows)  # [..., in, in]
        stack = rows.reshape(-1, *rows.shape[-2:])  # [experts or 1, out, in]
        grams = gram.reshape(-1, *gram.shape[-2:])
        solved = [self._matrix(*parts) for parts in zip(stack, grams, budget.each, strict=True)]
        self._note(view, target, [found for _, _, found in solved])
        new = torch.stack([w for w, _, _ in solved]).reshape(rows.shape)
        mask = torch.stack([m for _, m, _ in solved]).reshape(rows.shape)
        view.write(param, unmatrix(new, dims, tuple(weight.shape)).to(weight.dtype))
        return unmatrix(mask, dims, tuple(weight.shape)).reshape(target.shape)

    def _matrix(self, rows: Tensor, gram: Tensor, budget: Budget) -> tuple[Tensor, Tensor, Factor]:
        """One matrix [out, in]: its new values, its mask, and how H was factorised."""
        if self.act_order and budget.run:
            raise PlanError("sparsegpt: act_order would tear runs of N:M apart; leave it off")
        order = gram.diagonal().argsort(descending=True, stable=True) if self.act_order else None
        if order is not None:
            rows, gram = rows[:, order], gram[order][:, order]
        found = factorise(gram, self.damping)
        new, mask = sweep(rows.masked_fill(found.dead, 0), found.upper, budget, self.block)
        if order is not None:
            back = order.argsort()
            new, mask = new[:, back], mask[:, back]
        return new, mask, found

    def _note(self, view: View, target: Target, found: list[Factor]) -> None:
        """What the health table needs."""
        rows = view.stat("input_rows", target.members[0].param)
        view.note(
            target.name,
            damping=max(f.damping for f in found),
            dead=sum(int(f.dead.sum()) for f in found),
            samples=int(rows.min()),
            inputs=int(found[0].dead.numel()),
        )


def _param(target: Target) -> str:
    """The weight of a target of single weights; other units have no columns to sweep."""
    if len(target.members) != 1 or target.members[0].layout.size != 1:
        raise PlanError(
            f"solver 'sparsegpt' speaks of single weights; '{target.name}' has {target.kind}. "
            "Use structure 'weights'"
        )
    return target.members[0].param
