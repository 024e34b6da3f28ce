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


def lasso(gram: Tensor, wanted: Tensor, penalty: float, start: Tensor) -> Tensor:
    """argmin ½ βᵀGβ − bᵀβ + λ‖β‖₁ by coordinate descent from `start`, to 1e-9 of the largest step."""
    beta, rest, diagonal = start.clone(), wanted - gram @ start, gram.diagonal()
    for _ in range(10_000):
        largest = 0.0
        for u in (diagonal > 0).nonzero()[:, 0].tolist():
            old, pull = float(beta[u]), float(rest[u] + diagonal[u] * beta[u])
            new = max(abs(pull) - penalty, 0.0) / float(diagonal[u]) * (1 if pull > 0 else -1)
            if new != old:
                beta[u] = new
                rest -= gram[:, u] * (new - old)
                largest = max(largest, abs(new - old))
        if largest <= 1e-9 * max(float(beta.abs().max()), 1e-9):
            break
    return beta
