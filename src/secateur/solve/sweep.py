"""The sweep over the columns of matrices: select, remove, make up for it in what comes after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .budget import Budget
from .hessian import Factor

LEAF = 16
"""Columns that are passed one by one; those before them are made up for in matrix products."""

SPAN = 512
"""Columns that look back at all before them at once: a product of fewer rows is half as fast."""

STEP = 64
"""Columns of a block whose costs are computed at once, from those before them only."""

Columns = tuple[Tensor, ...]


def sweep(
    weights: Sequence[Tensor], factor: Factor, budgets: Sequence[Budget], block: int
) -> tuple[list[Tensor], list[Tensor]]:
    r"""New values ŵ and masks, like the weights, of a sweep from the first column to the last.

    c_k = w_k + Σ_{j<k} (w_j − ŵ_j) U_jk / U_kk, ŵ_k = c_k where the mask keeps it, 0 elsewhere.

    With H = U Uᵀ the loss (w − ŵ) H (w − ŵ)ᵀ is Σ_k ((w − ŵ) U)_k², and c_k makes the k-th term 0
    whatever went before: the update of Optimal Brain Surgeon without H⁻¹. Removing weight k costs
    (w'_k U_kk)², w' the weights when all columns before have settled and none after is removed.
    A span of blocks looks back at all columns before it in one matrix product, a block at those of
    its span, a leaf at those of its block. Inside a span everything lies transposed, [in, out], so
    that a column is contiguous.

    Args:
        weights: [out, in] each, matrices that multiply the same inputs.
        factor: of the inputs' H.
        budgets: how many weights stay where, matrix by matrix.
        block: columns that are selected together; runs of N:M are never torn.
    """
    state = _Sweep(weights, factor, budgets, block)
    state.run_through()
    return [new.T for new in state.new], state.masks


class _Sweep:
    """The state of one sweep.

    `back`, `mask` and `lost` have the columns of all matrices side by side, [in, all out]; the first
    two are those of one span. `new` is [in, out] for each matrix: turned over once, by who reads it.
    """

    def __init__(
        self, weights: Sequence[Tensor], factor: Factor, budgets: Sequence[Budget], block: int
    ) -> None:
        self.weights, self.budgets, self.run = weights, budgets, budgets[0].run
        self.outs = [len(weight) for weight in weights]
        self.new = [weight.new_empty(weight.T.shape) for weight in weights]
        self.masks = [torch.empty_like(weight, dtype=torch.bool) for weight in weights]
        self.carry, self.diagonal = factor.carry, factor.diagonal[:, None]  # [in, in], [in, 1]
        self.inputs = len(self.carry)
        self.block = _multiple(block, self.run)
        self.leaf = _multiple(LEAF, self.run)
        total = sum(self.outs)
        span = min(_multiple(SPAN, self.block), self.inputs)
        self.lost = self.carry.new_empty(self.inputs, total)  # w − ŵ
        self.back = self.lost.new_empty(span, total)  # Σ (w_j − ŵ_j) U_jk / U_kk; then ŵ
        self.keep = self.lost.new_empty(min(self.block, span), total)
        self.mask = torch.empty_like(self.back, dtype=torch.bool)
        every = (self.back, self.lost, self.keep)
        self.columns = [
            rows.unbind() for rows in every
        ]  # once: a view costs half as much as its use

    def run_through(self) -> None:
        """Sweep span by span, and in it block by block."""
        room, room_for_masks = torch.empty_like(self.back), torch.empty_like(self.mask)
        for here in _slices(0, self.inputs, len(self.back)):
            size = here.stop - here.start
            rows = room[:size].view(-1, size)  # [all out, size]
            torch.cat([weight[:, here] for weight in self.weights], out=rows)
            self.lost[here].copy_(rows.T)
            before, back = self.lost[: here.start], self.back[:size]
            torch.mm(self.carry[: here.start, here].T, before, out=back)
            for part in _slices(here.start, here.stop, self.block):
                self._block(here.start, part)
            self._hand_over(here, room_for_masks[:size].view(-1, size))

    def _hand_over(self, here: slice, rows: Tensor) -> None:
        """What a span has come to, into the matrices; `rows` [all out, size] is room for a copy."""
        size = here.stop - here.start
        masks = rows.copy_(self.mask[:size].T).split(self.outs)
        values = self.back[:size].split(self.outs, dim=1)
        for at, (mask, part) in enumerate(zip(masks, values, strict=True)):
            self.masks[at][:, here] = mask
            self.new[at][here] = part

    def _block(self, first: int, here: slice) -> None:
        """Settle the columns of a block; what stays is chosen for all, or run by run for N:M.

        Args:
            first: of its span; what went before is made up for.
            here: the columns.
        """
        place = slice(here.start - first, here.stop - first)
        lost, back, mask = self.lost[here], self.back[place], self.mask[place]
        back.addmm_(self.carry[first : here.start, here].T, self.lost[first : here.start])
        upper = self.carry[here, here].triu(1)
        shares = upper.T.contiguous()
        places = zip(self.columns, (place.start, here.start, 0), strict=True)
        columns = [rows[at : at + len(back)] for rows, at in places]
        width = self.run or len(back)
        onward = _inverses(upper, width)
        if not self.run:
            self._choose(here.start, onward[0], lost, back, mask)
        keep = self.keep[: len(back)]  # of N:M it is filled in run by run
        keep.copy_(mask.view(torch.int8))  # ten times as fast as from bool
        for leaf in _slices(0, len(back), self.leaf):
            before = slice(0, leaf.start)
            back[leaf].addmm_(upper[before, leaf].T, lost[before])
            for run in _slices(leaf.start, leaf.stop, self.run or self.leaf):
                if self.run:
                    ahead = slice(leaf.start, run.start)
                    back[run].addmm_(upper[ahead, run].T, lost[ahead])
                    parts = onward[run.start // width], lost[run], back[run], mask[run]
                    self._choose(here.start + run.start, *parts)
                    keep[run] = mask[run].view(torch.int8)
                new, gone, kept = (rows[run] for rows in columns)
                _settle(new, gone, kept, lost[run].T, shares[run, run])
        back.mul_(keep)

    def _choose(self, start: int, onward: Tensor, old: Tensor, back: Tensor, mask: Tensor) -> None:
        """Choose what stays of some columns [columns, all out], in every matrix; `back` turns into c.

        Costs are (w'_k U_kk)², where w' − w carries on what was lost to all that follow.
        """
        scale = self.diagonal[start : start + len(old)]
        each = zip(*(x.split(self.outs, dim=1) for x in (old, back, mask)), strict=True)
        for budget, (w, lack, part) in zip(self.budgets, each, strict=True):
            costs = torch.empty_like(w)
            for columns in _slices(0, len(old), STEP):  # `onward` is a triangle
                before = slice(0, columns.stop)
                torch.addmm(w[columns], onward[before, columns].T, lack[before], out=costs[columns])
            part.copy_(budget.best(costs.mul_(scale).abs_(), start, self.inputs))
        back.add_(old)


def _multiple(width: int, of: int) -> int:
    """The largest multiple that is no wider, at least one."""
    return max(width // of, 1) * of if of else width


def _slices(start: int, stop: int, width: int) -> Iterator[slice]:
    for at in range(start, stop, width):
        yield slice(at, min(at + width, stop))


def _inverses(upper: Tensor, width: int) -> Tensor:
    """[n, width, width] of the squares on the diagonal, with ones on their own."""
    squares = upper.unflatten(0, (-1, width)).unflatten(2, (-1, width)).diagonal(dim1=0, dim2=2)
    eye = torch.eye(width, dtype=upper.dtype, device=upper.device)
    squares = squares.movedim(-1, 0)
    return torch.linalg.solve_triangular(squares, eye, upper=True, unitriangular=True)


def _settle(new: Columns, lost: Columns, keep: Columns, before: Tensor, shares: Tensor) -> None:
    """Settle some columns [out] one by one; they know what went before them.

    Args:
        new, lost, keep: each a tensor of its own.
        before: [out, columns], what `lost` is a part of.
        shares: [columns, columns] U_jk / U_kk in row k, zero from k on.
    """
    for column, gone, kept, share in zip(new, lost, keep, shares.unbind(), strict=True):
        column.addmv_(before, share)
        gone.addcmul_(kept, column, value=-1)
