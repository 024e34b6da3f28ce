"""The sweep over the columns of a matrix: select, remove, make up for it in what comes after."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.select import keep_rows
from .budget import Budget

STEP = 16
"""Columns updated one by one; beyond them changes go in matrix products."""


def sweep(weight: Tensor, factor: Tensor, budget: Budget, block: int) -> tuple[Tensor, Tensor]:
    """New values and mask, both [out, in].

    Three sizes: single columns change those of their step of 16 at once; a step changes the rest of
    its block, and a block the rest of the matrix, each in one product. The result is the same as
    column by column. Everything lies transposed, [in, out], so that a column is contiguous.

    Args:
        weight: [out, in].
        factor: R [in, in], upper triangular, H⁻¹ = Rᵀ R.
        budget: how many weights stay where.
        block: columns that are selected together.
    """
    columns = weight.T.contiguous()  # [in, out]
    mask = torch.ones_like(columns, dtype=torch.bool)
    step = budget.run * max(1, STEP // budget.run) if budget.run else STEP
    block = step * max(1, -(-block // step)) if budget.run else block
    inputs = len(columns)
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        part, chosen = columns[start:stop], mask[start:stop]
        r = factor[start:stop, start:stop]
        if not budget.run:
            _select(part, r, budget.between(start, stop, inputs), chosen)
        errors = _block(part, r, chosen, budget, start, step)
        if stop < inputs:
            columns[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    return columns.T.contiguous(), mask.T.contiguous()


def _select(part: Tensor, r: Tensor, keep: Tensor, mask: Tensor) -> None:
    """Mark what stays of a block [b, out]: the largest w² / R_jj², `keep` of them all or per row."""
    scores = (part / r.diagonal()[:, None]).square().T  # [out, b]
    groups = scores.reshape(len(keep), -1)  # [1, out * b] or [out, b]
    mask.copy_(keep_rows(groups, keep.to(groups.device)).view(scores.shape).T)


def _block(part: Tensor, r: Tensor, mask: Tensor, budget: Budget, first: int, step: int) -> Tensor:
    """Remove what the mask names from a block [b, out], in place; [b, out] errors w / R_jj."""
    errors = torch.empty_like(part)
    for start in range(0, len(part), step):
        stop = min(start + step, len(part))
        for j in range(start, stop):
            if budget.run and j % budget.run == 0:
                _select_run(part, r, mask, budget, first, j)
            torch.mul(part[j], ~mask[j], out=errors[j])
            part[j] -= errors[j]
            errors[j] /= r[j, j]
            if j + 1 < stop:
                part[j + 1 : stop].addr_(r[j, j + 1 : stop], errors[j], alpha=-1)
        if stop < len(part):
            part[stop:].addmm_(r[start:stop, stop:].T, errors[start:stop], alpha=-1)
    return errors


def _select_run(part: Tensor, r: Tensor, mask: Tensor, budget: Budget, first: int, j: int) -> None:
    """Mark what stays of the run of columns that begins at j."""
    end = j + budget.run
    keep = budget.keep[:, (first + j) // budget.run]  # [out]
    scores = (part[j:end] / r.diagonal()[j:end, None]).square().T  # [out, run]
    mask[j:end] = keep_rows(scores, keep).T
