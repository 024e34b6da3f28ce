"""Exact Optimal Brain Surgeon: one weight of a row after the other, with all others making up for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Chooser, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.matrix import matrix, unmatrix
from ..core.select import keep_rows
from ..core.types import Groups, Target
from .budget import Budget, budgets_of, single_weights
from .hessian import Factor, factorise, gram_of

WIDEST = 4096
"""Inputs beyond which the work, out · in³, is a mistake."""

TOGETHER = 32
"""Rows that are worked on at a time; each has an inverse of its own."""


@register("exact-obs")
class ExactOBS(Chooser):
    r"""Ŵ ← argmin ‖W X − Ŵ X‖² greedily: of each row the p with the least w_p² / [H⁻¹]_pp goes next.

    H = X Xᵀ / n + λ I over all tokens (`input_gram`), λ = damping × mean diagonal. What goes is made up
    for by all weights of its row that are left, w ← w − w_p [H⁻¹]_:p / [H⁻¹]_pp, and leaves the inverse:
    H⁻¹ ← H⁻¹ − [H⁻¹]_:p [H⁻¹]_p: / [H⁻¹]_pp. Rows do not touch each other. Where a whole tensor has
    one budget, the losses of all steps of all rows are merged and the smallest ones happen: so a row
    loses as many weights as it has among them. For rows the first steps happen, for N:M those that find
    room in their run of M inputs. The weights that stay are then solved for at once, by least squares on
    their support, which is what the updates lead to.

    It owns the selection: criterion and scope decide how many stay. The work is out · in³ for a matrix
    [out, in], so that layers of more than 4,096 inputs are refused; `sparsegpt` passes each column once.

    Shapes: W [out, in] (experts one by one, kernels flattened), H [in, in]; solved in float64.

    Attributes:
        damping: λ over the mean of H's diagonal.

    Papers: Hassibi, Stork 1993 for the update; Frantar, Alistarh 2022, arXiv 2208.11580 (ExactOBS) for
    rows and the merging. The official code has no damping (it adds 1 to the diagonal where H cannot be
    inverted), works in float32 and keeps the weights of every step.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "input_rows"})

    damping: float = Field(default=0.01, gt=0, allow_inf_nan=False)

    def choose(self, keep: Mapping[str, Tensor], groups: Groups, view: View) -> dict[str, Tensor]:
        """The masks, target by target."""
        return {t.name: self._target(t, keep[t.name], groups, view) for t in view.targets}

    def _target(self, target: Target, keep: Tensor, groups: Groups, view: View) -> Tensor:
        """[target.shape] what stays of one weight, whose new values are written."""
        param = single_weights(target, self.name)
        weight, dims = view.weight(param), view.dims(param)
        rows, alive = matrix(weight.double(), dims), matrix(view.alive(param), dims)
        budgets = budgets_of(
            groups.layouts[target.name], keep, tuple(rows.shape), dims, target.name
        )
        width = rows.shape[-1]
        if width > WIDEST:
            raise PlanError(
                f"solver 'exact-obs' inverts a matrix for every row; '{target.name}' has {width:,} "
                f"inputs, more than {WIDEST:,}. Use solver 'sparsegpt'"
            )
        flat = rows.reshape(-1, *rows.shape[-2:])  # [experts or 1, out, in]
        grams = gram_of(view, param, rows).to(flat).reshape(-1, width, width)
        found = [factorise(gram, self.damping) for gram in grams]
        there = alive.reshape(flat.shape)
        parts = zip(flat, there, found, budgets, strict=True)
        news, masks = zip(*[_matrix(*part) for part in parts], strict=True)
        new, mask = (torch.stack(part).view(rows.shape) for part in (news, masks))
        view.write(param, unmatrix(new, dims, tuple(weight.shape)).to(weight.dtype))
        view.note(
            target.name,
            damping=max(f.damping for f in found),
            dead=sum(int(f.dead.sum()) for f in found),
            samples=int(view.stat("input_rows", param).min()),
            inputs=width,
        )
        return unmatrix(mask, dims, tuple(weight.shape)).reshape(target.shape)


def _matrix(weight: Tensor, there: Tensor, found: Factor, budget: Budget) -> tuple[Tensor, Tensor]:
    """(new values, mask) of one matrix [out, in]; inputs that were always 0 lose their weights."""
    weight = weight.masked_fill(found.dead | ~there, 0)
    hessian = found.damped
    inverse = found.solve(torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device))
    parts = zip(weight.split(TOGETHER), there.split(TOGETHER), strict=True)
    runs = budget.keep.to(weight.device).split(TOGETHER) if budget.run else None
    each = [
        eliminate(part, inverse, alive, runs[at] if runs is not None else None)
        for at, (part, alive) in enumerate(parts)
    ]
    order, losses = (torch.cat(column) for column in zip(*each, strict=True))
    mask = _stays(order, losses, budget)
    return torch.stack([refit(w, m, hessian) for w, m in zip(weight, mask, strict=True)]), mask


def eliminate(
    weight: Tensor, inverse: Tensor, there: Tensor, runs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(order, losses) [rows, in]: which weight of each row goes at which step, and what that costs.

    Args:
        weight: [rows, in] zero where nothing is there.
        inverse: [in, in] H⁻¹.
        there: [rows, in] bool; what is gone already goes first, at a loss of -1.
        runs: [rows, in / M] how many of each run of inputs stay; steps without room cost infinity.
    """
    rows, width = weight.shape
    w, inverses = weight.clone(), inverse.expand(rows, -1, -1).clone()
    gone = torch.zeros_like(there)
    order = torch.zeros(rows, width, dtype=torch.long, device=w.device)
    losses, every = torch.empty_like(w), torch.arange(rows, device=w.device)
    room = None if runs is None else width // runs.shape[1] - runs  # [rows, runs] that may go
    for step in range(width):
        diagonal = inverses.diagonal(dim1=1, dim2=2)
        scores = (w.square() / diagonal).masked_fill(~there, -1)
        if room is not None:
            full = (room <= 0).repeat_interleave(width // room.shape[1], dim=1)
            scores = scores.masked_fill(full, math.inf)
        pick = scores.clamp(max=1e300).masked_fill(gone, math.inf).argmin(1)  # no room: at the end
        order[:, step], losses[:, step] = pick, scores[every, pick]
        gone[every, pick] = True
        if room is not None:
            room[every, pick // (width // room.shape[1])] -= 1
        column, pivot = inverses[every, pick], diagonal[every, pick]
        w = (w - column * (w[every, pick] / pivot)[:, None]).masked_fill(gone, 0)
        share = (column / pivot[:, None])[:, None, :]
        inverses.baddbmm_(column[:, :, None], share, alpha=-1)
        inverses[every, pick, pick] = 1  # passed: any number that can be divided by
    return order, losses


def _stays(order: Tensor, losses: Tensor, budget: Budget) -> Tensor:
    """bool [out, in] what stays of a matrix after the steps that happen."""
    if budget.run:
        happen = losses != math.inf
    elif len(budget.keep) == 1:
        keep = budget.keep.to(losses.device)
        lost = ~keep_rows(losses.reshape(1, -1), keep).view(losses.shape)
        happen = _first(lost.sum(1), losses)
    else:
        happen = _first(losses.shape[1] - budget.keep.to(losses.device), losses)
    return torch.ones_like(happen).scatter(1, order, ~happen)


def _first(counts: Tensor, losses: Tensor) -> Tensor:
    """bool [rows, in] the first `counts` steps of each row."""
    return torch.arange(losses.shape[1], device=losses.device) < counts[:, None]


def refit(weight: Tensor, mask: Tensor, hessian: Tensor) -> Tensor:
    """[in] argmin (w − ŵ) H (w − ŵ)ᵀ over ŵ that are zero outside the mask.

    >>> h = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> refit(torch.tensor([1.0, 4.0]), torch.tensor([False, True]), h)
    tensor([0.0000, 4.5000])
    """
    new = weight.masked_fill(~mask, 0)
    if not bool(mask.any()):
        return new
    factor = torch.linalg.cholesky(hessian[mask][:, mask])
    lost = hessian[mask][:, ~mask] @ weight[~mask]
    new[mask] += torch.cholesky_solve(lost[:, None], factor)[:, 0]
    return new
