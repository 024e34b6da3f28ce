"""How much units do to each other's effect on the loss, with the curvature of Gauss and Newton."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import DataError, PlanError
from ...core.labelled import chunks, samples, split
from ...core.random import derive
from ..rewrite import evaluating
from .loop import loss_of
from .statistics import Job, Values, own_pass

MOST_UNITS, MOST_OUTPUTS = 10_000, 1_000
"""Beyond these the matrix of all pairs, or the gradients of all outputs, are a mistake."""


@own_pass("gauss_newton_abs", reads="labels")
def gauss_newton_abs(job: Job, option: float | None) -> Values:
    r"""q_u = Σ_v |θ_uᵀ G θ_v|, G = (1/n) Σ_x φ(x)ᵀ R(x) φ(x), over the units v of all targets.

    θ_u: the weights that unit u owns, φ(x) = ∂f(x)/∂θ [outputs, weights] of one sample x,
    R(x) = ∂²ℓ/∂f² [outputs, outputs] of its loss. One backward pass for each output of each sample.
    Batch norms use their running statistics.

    Shapes: [target.shape] float64, under the name of the target.
    """
    units = sum(target.units for target in job.targets)
    if not 0 < units <= MOST_UNITS or job.batches is None:
        raise PlanError(
            f"how {units:,} units do to each other needs batches and 1 to {MOST_UNITS:,} units; pass "
            "data=... and choose larger structures, or a criterion of gradients"
        )
    pairs, count = torch.zeros(units, units, dtype=torch.float64), 0
    torch.manual_seed(derive(job.seed, "collect"))
    with torch.enable_grad(), evaluating(job.model), _output(job.model) as seen:
        for number, batch in enumerate(job.batches, 1):
            for sample in _samples(batch):
                loss = loss_of(job, sample, number)
                effects, curvature = _effects(job, seen, loss)
                pairs, count = pairs.to(effects) + effects.T @ curvature @ effects, count + 1
    if not count:
        raise DataError("there are no batches to differentiate on; pass a list of batches")
    rows = (pairs / count).abs().sum(1).split([target.units for target in job.targets])
    return {t.name: row.view(t.shape) for t, row in zip(job.targets, rows, strict=True)}


def _effects(job: Job, seen: list[Any], loss: Tensor) -> tuple[Tensor, Tensor]:
    """φ θ_u [outputs, units] and R [outputs, outputs] of one sample."""
    f = seen.pop()
    if not isinstance(f, Tensor) or f.dim() != 2 or f.shape[1] > MOST_OUTPUTS:
        got = f"shape {tuple(f.shape)}" if isinstance(f, Tensor) else type(f).__name__
        raise PlanError(
            f"the curvature of Gauss and Newton needs outputs [samples, up to {MOST_OUTPUTS:,}], not "
            f"{got}; take another criterion, or SOSP's variant h"
        )
    (slope,) = torch.autograd.grad(loss, f, create_graph=True, materialize_grads=True)
    rows = [_gradient(s, [f])[0][0] for s in slope[0]]
    effects = [_along(job, _gradient(value, list(job.params.values()))) for value in f[0]]
    return torch.stack(effects), torch.stack(rows).double()


def _gradient(value: Tensor, by: list[Any]) -> tuple[Tensor, ...]:
    """The gradient, zero where nothing depends on `by`; the graph stays."""
    if not value.requires_grad:  # the loss is linear in the outputs
        return tuple(torch.zeros_like(one) for one in by)
    return torch.autograd.grad(value, by, retain_graph=True, materialize_grads=True)


def _along(job: Job, gradients: tuple[Tensor, ...]) -> Tensor:
    """[units] Σ w g over all that each unit owns."""
    products = {
        name: param.detach().double() * gradient.double()
        for (name, param), gradient in zip(job.params.items(), gradients, strict=True)
    }
    parts = [
        torch.stack([m.layout.matrix(products[m.param]).sum(1) for m in target.members]).sum(0)
        for target in job.targets
    ]
    return torch.cat(parts)


def _samples(batch: Any) -> Iterator[Any]:
    """The batch's samples, one by one, as batches of its own kind."""
    x, y = split(batch)
    for one, label in zip(chunks(x, samples(x)), y.split(1), strict=True):
        yield {**one, "labels": label} if isinstance(one, Mapping) else (one, label)


@contextmanager
def _output(model: nn.Module) -> Iterator[list[Any]]:
    """Keep what the model puts out."""
    seen: list[Any] = []
    hook = model.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        yield seen
    finally:
        hook.remove()
