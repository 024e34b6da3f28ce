"""The sweep over the columns of matrices: select, remove, make up for it in what comes after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .budget import Budget
from .hessian import Factor

LEAF = 16
"""Columns that are passed one by one; those before them are made up for in matrix products."""

SPAN = 512
"""Columns that look back at all before them at once: a product of fewer rows is half as fast."""


def sweep(
    weight: Tensor, factor: Factor, budgets: Sequence[Budget], block: int
) -> tuple[Tensor, Tensor]:
    r"""New values ŵ and mask, both [in, out], of a sweep from the first column to the last.

    c_k = w_k + Σ_{j<k} (w_j − ŵ_j) U_jk / U_kk, ŵ_k = c_k where the mask keeps it, 0 elsewhere.

    With H = U Uᵀ the loss (w − ŵ) H (w − ŵ)ᵀ is Σ_k ((w − ŵ) U)_k², and c_k makes the k-th term 0
    whatever went before: the update of Optimal Brain Surgeon without H⁻¹. Removing weight k costs
    (w'_k U_kk)², w' the weights when all columns before have settled and none after is removed.
    A span of blocks looks back at all columns before it in one matrix product, a block at those of
    its span, a leaf at those of its block. Everything lies transposed, [in, out], so that a column is
    contiguous.

    Args:
        weight: [out, in], the rows of one or several matrices that multiply the same inputs.
        factor: of the inputs' H.
        budgets: how many weights stay where, matrix by matrix.
        block: columns that are selected together; runs of N:M are never torn.
    """
    return _Sweep(weight, factor, budgets, block).done()


class _Sweep:
    """The state of one sweep."""

    def __init__(
        self, weight: Tensor, factor: Factor, budgets: Sequence[Budget], block: int
    ) -> None:
        self.lost = weight.T.clone(memory_format=torch.contiguous_format)  # [in, out] w; then w − ŵ
        self.new = torch.empty_like(self.lost)
        self.mask = torch.empty_like(self.lost, dtype=torch.bool)
        self.carry, self.diagonal = factor.carry, factor.diagonal[:, None]  # [in, in], [in, 1]
        self.budgets, self.run = budgets, budgets[0].run
        self.block = block if not self.run else max(block // self.run, 1) * self.run

    def done(self) -> tuple[Tensor, Tensor]:
        """Sweep span by span, and in it block by block."""
        inputs, span = len(self.lost), max(SPAN // self.block, 1) * self.block
        for first in range(0, inputs, span):
            last = min(first + span, inputs)
            here = slice(first, last)
            torch.addmm(
                self.lost[here], self.carry[:first, here].T, self.lost[:first], out=self.new[here]
            )
            for start in range(first, last, self.block):
                self._block(first, start, min(start + self.block, last))
        return self.new, self.mask

    def _block(self, first: int, start: int, stop: int) -> None:
        """Settle the columns of a block; what stays is marked here, or run by run for N:M.

        Args:
            first: of its span; what went before is made up for.
            start, stop: of the block.
        """
        new, lost, mask = (x[start:stop] for x in (self.new, self.lost, self.mask))
        new.addmm_(self.carry[first:start, start:stop].T, self.lost[first:start])  # c so far
        shares = self.carry[start:stop, start:stop].T.tril(-1)  # [k, j]: into k, of those before it
        if not self.run:
            self._mark(start, stop)
        keep = mask.to(new.dtype)  # of N:M it is filled in run by run
        width = self.run or LEAF
        for at in range(0, stop - start, width):
            leaf = slice(at, at + width)
            new[leaf].addmm_(shares[leaf, :at], lost[:at])
            if self.run:
                self._mark(start + at, start + at + width)
                keep[leaf] = mask[leaf]
            _leaf(new[leaf], lost[leaf], keep[leaf], shares[leaf, leaf])
        new.mul_(keep)

    def _mark(self, start: int, stop: int) -> None:
        """Choose what stays of some columns, in every matrix."""
        worth = self._costs(start, stop).split([b.out for b in self.budgets], dim=1)
        parts = self.mask[start:stop].split([b.out for b in self.budgets], dim=1)
        for budget, part, costs in zip(self.budgets, parts, worth, strict=True):
            part.copy_(budget.best(costs, start, len(self.lost)))

    def _costs(self, start: int, stop: int) -> Tensor:
        """[columns, out] (w'_k U_kk)², where w' − w carries on what was lost to all that follow."""
        here = slice(start, stop)
        eye = torch.eye(stop - start, dtype=self.carry.dtype, device=self.carry.device)
        onward = torch.linalg.solve_triangular(self.carry[here, here], eye, upper=True)
        old = self.lost[here]
        settled = torch.addmm(old, onward.T, self.new[here] - old)  # [columns, out]
        return settled.mul_(self.diagonal[here]).square_()


def _leaf(new: Tensor, lost: Tensor, keep: Tensor, shares: Tensor) -> None:
    """Settle some columns [columns, out] one by one; they know what went before them."""
    before = lost.T
    for column, share, kept, gone in zip(new, shares, keep, lost, strict=True):
        column.addmv_(before, share)
        gone.addcmul_(kept, column, value=-1)
