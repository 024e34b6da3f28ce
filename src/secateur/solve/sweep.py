"""The sweep over the columns of a matrix: select, remove, make up for it in what comes after."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.select import keep_rows
from .budget import Budget


def sweep(weight: Tensor, upper: Tensor, budget: Budget, block: int) -> tuple[Tensor, Tensor]:
    r"""New values ŵ and mask, both [out, in], of a sweep from the first column to the last.

    c_k = w_k + Σ_{j<k} (w_j − ŵ_j) U_jk / U_kk, ŵ_k = c_k where the mask keeps it, 0 elsewhere.

    With H = U Uᵀ the loss (w − ŵ) H (w − ŵ)ᵀ is Σ_k ((w − ŵ) U)_k², and c_k makes the k-th term 0
    whatever went before: the update of Optimal Brain Surgeon without H⁻¹. Removing weight k costs
    (w'_k U_kk)², w' the weights when all columns before have settled and none after is removed.
    Columns are halved down to single ones, and what a half loses reaches the other in one matrix
    product. Everything lies transposed, [in, out], so that a column is contiguous.

    Args:
        weight: [out, in].
        upper: U [in, in], upper triangular.
        budget: how many weights stay where.
        block: columns that are selected together; runs of N:M are never torn.
    """
    return _Sweep(weight, upper, budget, block).done()


class _Sweep:
    """The state of one sweep."""

    def __init__(self, weight: Tensor, upper: Tensor, budget: Budget, block: int) -> None:
        self.new = weight.T.clone(
            memory_format=torch.contiguous_format
        )  # [in, out] c; ŵ once passed
        self.lost = self.new.clone()  # [in, out] w; w − ŵ once passed
        self.mask = torch.ones_like(self.new, dtype=torch.bool)
        self.diagonal = upper.diagonal()[:, None]  # [in, 1] U_kk
        self.carry = upper / upper.diagonal()  # [in, in] U_jk / U_kk
        self.budget, self.block = budget, block

    def done(self) -> tuple[Tensor, Tensor]:
        """Sweep, and turn back to [out, in]."""
        unit, leaf = (self.budget.run, self._run) if self.budget.run else (self.block, self._block)
        self._halve(0, len(self.new), unit, leaf)
        return self.new.T, self.mask.T

    def _halve(self, start: int, stop: int, unit: int, leaf: Callable[[int, int], None]) -> None:
        """`leaf(start, stop)` for every `unit` columns in order, each knowing what went before."""
        units = -(-(stop - start) // unit)
        if units == 1:
            leaf(start, stop)
            return
        middle = start + units // 2 * unit
        self._halve(start, middle, unit, leaf)
        share = self.carry[start:middle, middle:stop]
        self.new[middle:stop].addmm_(share.T, self.lost[start:middle])
        self._halve(middle, stop, unit, leaf)

    def _block(self, start: int, stop: int) -> None:
        """Mark what stays of a block, of the whole matrix or per row, and remove the rest."""
        keep = self.budget.between(start, stop, len(self.new))  # [1] or [out]
        costs = self._costs(start, stop)  # [out, block]
        groups = costs.reshape(len(keep), -1)  # [1, out * block] or [out, block]
        self.mask[start:stop] = keep_rows(groups, keep.to(groups.device)).view(costs.shape).T
        self._halve(start, stop, 1, self._column)

    def _run(self, start: int, stop: int) -> None:
        """Mark what stays of a run of N:M, row by row, and remove the rest."""
        keep = self.budget.keep[:, start // self.budget.run]  # [out]
        self.mask[start:stop] = keep_rows(self._costs(start, stop), keep).T
        self._halve(start, stop, 1, self._column)

    def _costs(self, start: int, stop: int) -> Tensor:
        """[out, columns] (w'_k U_kk)², where w' − w carries on what was lost to all that follow."""
        here = slice(start, stop)
        eye = torch.eye(stop - start, dtype=self.carry.dtype, device=self.carry.device)
        onward = torch.linalg.solve_triangular(self.carry[here, here], eye, upper=True)
        old = self.lost[here]
        settled = torch.addmm(old, onward.T, self.new[here] - old)  # [columns, out]
        return settled.mul_(self.diagonal[here]).square_().T

    def _column(self, k: int, _: int) -> None:
        """Remove what the mask names from a column."""
        self.new[k].masked_fill_(~self.mask[k], 0)
        self.lost[k] -= self.new[k]
