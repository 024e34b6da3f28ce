"""SparseGPT: remove column by column, and let the later columns make up for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.axes import Chooser, View, wide
from ..core.component import register
from ..core.errors import PlanError
from ..core.matrix import matrix, unmatrix
from ..core.types import Groups, Target
from .budget import Budget, budgets_of, single_weights
from .hessian import Factor, factorise, gram_of
from .sweep import sweep


@dataclass(frozen=True)
class _Layer:
    """A target, its weight, this as matrices [experts or 1, out, in], their budgets and Gram matrix.

    `shift`: how far the inputs have moved from those of the dense network, where that is made up for.
    """

    target: Target
    param: str
    weight: Tensor
    rows: Tensor
    budgets: list[Budget]
    gram: Tensor
    shift: Tensor | None


@register("sparsegpt")
class SparseGPT(Chooser):
    r"""Ŵ ← argmin ‖W X − Ŵ X‖² column by column: δ_k = (w_j − ŵ_j) U_jk / U_kk for k > j, H = U Uᵀ.

    H = X Xᵀ / n + λ I over all tokens (`input_gram`), U upper triangular, λ = damping × mean diagonal.
    In every run of `block` columns the weights with the smallest (w_j U_jj)² = w_j² / [H_F⁻¹]_jj go, F
    the columns from j on: as many as the budget of their tensor or row has room for, in exact numbers;
    for N:M in every M columns when the sweep reaches them. What a column loses moves into the columns
    after it. The paper writes the same with the factor of H⁻¹; H's own saves the inverse.

    It owns the selection: criterion and scope decide how many stay in each tensor, row or run of M
    inputs, the solver decides which. Inputs that were always 0 lose their weights. Where H is not
    positive definite, λ is raised tenfold until it is; the record names λ, dead inputs and samples.

    With `refit` r > 0 W moves to W' = W + r W D H⁻¹ first, D = (X° − X) Xᵀ / n (`input_shift`), X° what
    entered the layer in the dense network. For r = 1 that is argmin ‖W' X − W X°‖² + λ n ‖W' − W‖²: the
    layer makes up for what was lost before it, and ‖Ŵ X − W X°‖² is what the sweep lets grow least. Then
    the layers of a block are solved in the order in which they run, each on what the pruned ones before
    it give (queries, keys and values together), and the dense block runs beside. Experts that are
    stacked in one tensor stay where they are: they meet other tokens than in the dense network.

    Shapes: W [out, in] (experts one by one, kernels flattened), H, D [in, in] float32 or wider.

    Attributes:
        block: columns that are selected together, 128 in the paper.
        damping: λ over the mean of H's diagonal, 0.01 in the paper.
        act_order: take inputs with a large diagonal first (as GPTQ does), so that the weights that
            matter most are decided while all others can still make up for them; not with N:M.
        refit: how much of the way to the weights that make up for earlier losses is gone, in [0, 1].

    Paper: Frantar, Alistarh 2023, arXiv 2301.00774. The official code compares with a threshold, so
    that ties may remove more; it has no act order and gives up where Cholesky fails. The target of
    `refit` is the asymmetric calibration of GPTAQ (Li et al. 2025, arXiv 2504.02692), a method of
    quantisation that spreads the same correction over its sweep; its official code takes a quarter of
    it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "input_rows"})

    block: int = Field(default=128, ge=1)
    damping: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    act_order: bool = False
    refit: float = Field(default=0.0, ge=0, le=1)

    @property
    def makes_up(self) -> bool:
        """With `refit`."""
        return self.refit > 0

    def required(self) -> frozenset[str]:
        """The inputs, and how far they have moved where that is made up for."""
        return self.needs | ({"input_shift"} if self.refit else frozenset())

    def choose(self, keep: Mapping[str, Tensor], groups: Groups, view: View) -> dict[str, Tensor]:
        """The masks; layers that multiply the same inputs are swept together."""
        masks: dict[str, Tensor] = {}
        for layers in _alike([self._layer(t, keep[t.name], groups, view) for t in view.targets]):
            masks |= self._together(layers, view)
        return {target.name: masks[target.name] for target in view.targets}

    def _layer(self, target: Target, keep: Tensor, groups: Groups, view: View) -> _Layer:
        """What is asked of a target, and what it is judged by."""
        param = single_weights(target, self.name)
        weight, dims = view.weight(param), view.dims(param)
        rows = matrix(weight.to(wide(weight)), dims)
        budgets = budgets_of(
            groups.layouts[target.name], keep, tuple(rows.shape), dims, target.name
        )
        if self.act_order and budgets[0].run:
            raise PlanError("sparsegpt: act_order would tear runs of N:M apart; leave it off")
        rows = rows.reshape(-1, *rows.shape[-2:])
        paired = self.refit > 0 and "expert" not in dims
        shift = view.stat("input_shift", param).to(rows) if paired else None
        return _Layer(target, param, weight, rows, budgets, gram_of(view, param, rows), shift)

    def _together(self, layers: list[_Layer], view: View) -> dict[str, Tensor]:
        """{target: mask} of layers with one Gram matrix (or one for each of the same experts)."""
        gram = layers[0].gram.to(layers[0].rows)
        squares = gram.reshape(-1, *gram.shape[-2:])
        experts = zip(*[layer.rows for layer in layers], strict=True)
        budgets = zip(*[layer.budgets for layer in layers], strict=True)
        shift = layers[0].shift
        news, masks, found = [], [], []
        for matrices in zip(experts, squares, budgets, strict=True):
            values, chosen, factor = self._matrices(*matrices, shift)
            news.append(values)
            masks.append(chosen)
            found.append((factor.damping, int(factor.dead.sum())))
        result: dict[str, Tensor] = {}
        for at, layer in enumerate(layers):
            shape, dims = tuple(layer.weight.shape), view.dims(layer.param)
            new = unmatrix(_stacked([each[at] for each in news]), dims, shape)
            view.write(layer.param, new.to(layer.weight.dtype))
            mask = unmatrix(_stacked([each[at] for each in masks]), dims, shape)
            result[layer.target.name] = mask.reshape(layer.target.shape)
            self._note(view, layer, found)
        return result

    def _matrices(
        self,
        rows: Sequence[Tensor],
        gram: Tensor,
        budgets: Sequence[Budget],
        shift: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor], Factor]:
        """New values and masks of matrices [out, in] that multiply the same inputs; H's factor."""
        order = gram.diagonal().argsort(descending=True, stable=True) if self.act_order else None
        if order is not None:
            rows, gram = [part[:, order] for part in rows], gram[order][:, order]
            shift = None if shift is None else shift[order][:, order]
        found = factorise(gram, self.damping)
        if shift is not None and bool(shift.any()):
            rows = [found.moved(part, shift, self.refit) for part in rows]
        if bool(found.dead.any()):
            rows = [part.masked_fill(found.dead, 0) for part in rows]
        new, masks = sweep(rows, found, budgets, self.block)
        if order is not None:
            back = order.argsort()
            new, masks = [x[:, back] for x in new], [x[:, back] for x in masks]
        return new, masks, found

    def _note(self, view: View, layer: _Layer, found: Sequence[tuple[float, int]]) -> None:
        """What the health table needs; `found`: λ and dead inputs of every matrix."""
        view.note(
            layer.target.name,
            damping=max(damping for damping, _ in found),
            dead=sum(dead for _, dead in found),
            samples=int(view.stat("input_rows", layer.param).min()),
            inputs=layer.rows.shape[-1],
        )


def _alike(layers: Iterable[_Layer]) -> Iterator[list[_Layer]]:
    """Layers that follow each other and read the same inputs (queries, keys and values)."""
    run: list[_Layer] = []
    for layer in layers:
        if run and not (_same(run[-1].gram, layer.gram) and _same(run[-1].shift, layer.shift)):
            yield run
            run = []
        run.append(layer)
    yield run


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a is b or (a.shape == b.shape and a.device == b.device and torch.equal(a, b))


def _stacked(parts: list[Tensor]) -> Tensor:
    """[experts, ...]; one alone is not copied."""
    return torch.stack(parts) if len(parts) > 1 else parts[0][None]
