"""Least squares: what reads the removed units is refitted, so that its output changes least."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ..core.axes import Repair, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.reads import Reader, readers
from ..core.types import Groups, Target

log = logging.getLogger(__name__)


@register("least-squares")
class LeastSquares(Repair):
    r"""W_S ← W_S + (C_S − W_S G_SS)(G_SS + λI)⁻¹, the minimum of E‖y − W_S x_S‖² + λ‖ΔW‖² over W_S.

    W: the weight of each layer that reads the units, x: its inputs (windows of a convolution), y: what
    it put out before, without bias; G = E x xᵀ, C = E y xᵀ, S: the inputs that stay. λ = damping · mean
    diagonal of G_SS. With `fit="scales"` each unit gets one factor c_u instead: c = argmin
    E‖y − Σ_u c_u z_u‖², z_u what unit u adds to the output. Selection is left as proposed.

    With walk `layers` x comes from the network pruned so far and y from the one before the update, so
    that a layer makes up for what was lost before it too; with walk `whole` y = W x.

    Shapes: W [out, in * kernel], G [in * kernel, in * kernel]; solved in float64.

    Attributes:
        fit: all kept `weights`, or one of the `scales` per unit.
        aim: y the layer's own `output`, or with `sum` what brings the sum it is added to back, where
            there is one: y + (e − e') / a, e and e' the shortcut before and now, a the norm's factor.
        damping: λ over the mean diagonal; it ties the weights to what they were.
        within: with `scales`, a layer one of whose factors lies outside ± this keeps its weights as
            they were: so large a factor is a sign of a fit that does not hold elsewhere.

    Paper: He, Zhang, Sun 2017, arXiv 1707.06168 (weights, and `sum` for residual branches); Luo, Wu,
    Lin 2017, arXiv 1707.06342 (scales); Kwon et al. 2022, arXiv 2204.09656 (scales, and `within`).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_gram", "output_cross", "sum_cross"})

    fit: Literal["weights", "scales"] = "weights"
    aim: Literal["output", "sum"] = "output"
    damping: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    within: float | None = Field(default=None, gt=1, allow_inf_nan=False)

    def model_post_init(self, _: Any) -> None:
        """A bound on factors where there are none would be ignored."""
        if self.within is not None and self.fit == "weights":
            raise PlanError(
                "least-squares: `within` bounds factors; give fit='scales' or leave it out"
            )

    def required(self) -> frozenset[str]:
        """The inputs, and what is aimed at."""
        return frozenset({"input_gram", f"{self.aim}_cross"})

    def solve(self, target: Target, proposal: Tensor, groups: Groups, view: View) -> Tensor:
        """The proposal; the weights of the target's readers are written."""
        gone = (view.masks[target.name] & ~proposal).flatten().cpu()
        for reader in readers(view, target) if bool(gone.any()) else []:
            weight = reader.weight(view)  # [out, in, kernel]
            flat = weight.flatten(1)
            lost = torch.zeros(weight.shape[1:], dtype=torch.bool, device=flat.device)
            lost[reader.features[gone].flatten().to(flat.device)] = True
            owner = _owner(weight, reader, target.units).flatten()
            cross = view.stat(f"{self.aim}_cross", reader.param).to(flat)
            new = self._refit(flat, lost.flatten(), _gram(view, reader, flat), cross, owner)
            shape = view.weight(reader.param).movedim(reader.dim, 1).shape
            new = new.view(shape).movedim(1, reader.dim)
            view.write(reader.param, new.to(view.weight(reader.param).dtype))
        return proposal

    def _refit(
        self, weight: Tensor, lost: Tensor, gram: Tensor, cross: Tensor, owner: Tensor
    ) -> Tensor:
        """[out, in * kernel] the new weight, zero where inputs go or were gone before."""
        stays = weight.any(0) & ~lost
        new = weight.masked_fill(lost, 0)
        if not bool(stays.any()):
            return new
        square = gram[stays][:, stays]
        miss = cross[:, stays] - new[:, stays] @ square  # [out, stays]: E (y − W_S x_S) x_Sᵀ
        if self.fit == "weights":
            new[:, stays] += _solve(square, miss.T, self.damping).T
            return new
        units, place = owner[stays].unique(return_inverse=True)
        spread = F.one_hot(place, len(units)).to(weight)  # [stays, units]
        kept = new[:, stays]
        together = spread.T @ (kept.T @ kept * square) @ spread
        wanted = spread.T @ (kept * miss).sum(0)
        gain = _solve(together, wanted[:, None], self.damping)[:, 0]  # [units] c - 1
        if self.within is not None and float((1 + gain).abs().max()) > self.within:
            log.warning("least squares left a layer as it was: a factor was beyond %g", self.within)
            return new
        new[:, stays] *= 1 + gain[place]
        return new


def _gram(view: View, reader: Reader, flat: Tensor) -> Tensor:
    gram = view.stat("input_gram", reader.param).to(flat)
    if gram.shape != (flat.shape[1], flat.shape[1]):
        raise PlanError(
            f"solver 'least-squares' refits layers that mix all their inputs; '{reader.param}' works "
            "in groups. Leave it out, or drop the solver"
        )
    return gram


def _owner(weight: Tensor, reader: Reader, units: int) -> Tensor:
    """[in, kernel] the unit that owns each input; those of other structures keep a factor of their own."""
    owner = torch.full(weight.shape[1:2], units, dtype=torch.long)
    owner[reader.features] = torch.arange(units)[:, None]
    return owner[:, None].expand(weight.shape[1:]).to(weight.device)


def _solve(square: Tensor, right: Tensor, damping: float) -> Tensor:
    """(square + λI)⁻¹ right, λ relative to the mean diagonal; inputs that are always zero change nothing."""
    size = square.diagonal().mean().clamp(min=1e-300)
    eye = torch.eye(len(square), dtype=square.dtype, device=square.device)
    factor = torch.linalg.cholesky(square + damping * size * eye)
    return torch.cholesky_solve(right, factor)
