"""How the parts that units give to the next layer's output go together: shared by criteria."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.axes import View
from ..core.errors import PlanError
from ..core.reads import readers
from ..core.types import Target


def response_gram(view: View, target: Target) -> Tensor:
    r"""A_uv = mean over rows of z_uᵀ z_v, with z_u = W_u x_u what unit u adds to the next layer's output.

    From the Gram matrix G of the layer's inputs, without the rows themselves: A_uv is the sum of
    (WᵀW ∘ G) over the inputs of u and of v. Several layers that read the units add up.

    Shapes: [units, units] float64.
    """
    total = torch.zeros(target.units, target.units, dtype=torch.float64)
    for reader in readers(view, target):
        weight = reader.weight(view)  # [out, in, kernel]
        flat = weight.flatten(1)  # [out, in * kernel]
        gram = view.stat("input_gram", reader.param).to(flat)
        if gram.shape[0] != flat.shape[1]:
            raise PlanError(f"'{reader.param}' works in groups: its inputs cannot be told by unit")
        kernel = torch.arange(weight.shape[2])
        places = (reader.features[..., None] * weight.shape[2] + kernel).flatten(1)
        owner = torch.zeros(target.units, flat.shape[1], dtype=torch.float64, device=flat.device)
        owner.scatter_(1, places.to(flat.device), 1.0)  # [units, in * kernel]
        total = total.to(flat.device) + owner @ ((flat.T @ flat) * gram) @ owner.T
    return total


def response_target(view: View, target: Target, statistic: str) -> Tensor:
    r"""b_u = mean over rows of z_uᵀ y, y what the next layer put out before anything was removed.

    From C = E y xᵀ (`statistic`): the sum of W ∘ C over the inputs of u. Where nothing has been
    removed yet y = Σ_v z_v, and b is the sum of the rows of `response_gram`.

    Shapes: [units] float64.
    """
    total = torch.zeros(target.units, dtype=torch.float64)
    for reader in readers(view, target):
        weight = reader.weight(view)  # [out, in, kernel]
        cross = view.stat(statistic, reader.param).to(weight).view(weight.shape)
        each = (weight * cross).sum((0, 2))  # [in]
        total = total.to(each) + each[reader.features.to(each.device)].sum(1)
    return total


def entries(gram: Tensor, wanted: Tensor) -> Tensor:
    r"""[units] the largest λ at which β_u ≠ 0, β(λ) = argmin ½ βᵀGβ − bᵀβ + λ‖β‖₁; 0 for never.

    The path is followed exactly, from one penalty at which a unit comes in or drops out to the next:
    between two of them β is linear in λ (least-angle regression with drops).
    """
    size = gram.diagonal().mean()
    gram = gram + 1e-12 * size * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    found, beta = torch.zeros_like(wanted), torch.zeros_like(wanted)
    active = torch.zeros_like(wanted, dtype=torch.bool)
    penalty = float(wanted.detach().abs().max())
    turned: int | None = int(wanted.abs().argmax())
    for _ in range(8 * len(wanted)):
        if turned is not None:
            active[turned] = ~active[turned]
            if active[turned] and not float(found[turned]):
                found[turned] = penalty
        if penalty <= 1e-12 * float(wanted.detach().abs().max()) or not bool(active.any()):
            break
        step, turned, direction = _next(gram, wanted - gram @ beta, beta, active, penalty, turned)
        beta[active] += step * direction
        penalty -= step
        if turned is not None and active[turned]:
            beta[turned] = 0.0
    return found


def _next(
    gram: Tensor, rest: Tensor, beta: Tensor, active: Tensor, penalty: float, turned: int | None
) -> tuple[float, int | None, Tensor]:
    """How far λ falls until a unit turns, which one (None: at λ = 0), and how fast β_active moves."""
    direction = torch.linalg.solve(gram[active][:, active], rest[active].sign())
    slope = gram[:, active] @ direction  # how fast each correlation falls
    far = torch.full_like(rest, torch.inf)
    joins = torch.stack([(penalty - rest) / (1 - slope), (penalty + rest) / (1 + slope)])
    joins = joins.masked_fill(~(joins > 1e-12 * penalty), torch.inf).amin(0)
    leaves = far.clone()
    leaves[active] = -beta[active] / direction
    leaves.masked_fill_(~(leaves > 0), torch.inf)
    events = torch.where(active, leaves, joins)
    if turned is not None and not active[turned]:
        events[turned] = torch.inf  # what has just dropped out does not come in again at once
    step, unit = (float(events.min()), int(events.argmin()))
    return (step, unit, direction) if step < penalty else (penalty, None, direction)
