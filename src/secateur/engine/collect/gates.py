"""How the loss reacts to a gate on each unit's output, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...core.axes import wide
from ...core.errors import DataError, PlanError
from ...core.matrix import gram
from ...core.random import derive
from ...core.reads import Reader, readers
from ..rewrite import evaluating
from ..view import ModelView
from .loop import loss_of
from .statistics import Job, Values, own_pass

Seen = dict[str, list[Tensor]]
"""Weight -> what entered its layer, one tensor for every call."""


@own_pass("gate_abs", reads="labels")
def gate_abs(job: Job, option: float | None) -> Values:
    r"""a_u = (1/n) Σ_x |∂ℓ(x)/∂ξ_u|, ξ_u = 1 a factor on all that unit u puts out.

        ∂ℓ(x)/∂ξ_u = Σ_j h_j(x) ∂ℓ(x)/∂h_j over the features and places j of unit u

    h: what enters the first layer that reads the unit (after norm and activation), ℓ(x): the loss of
    one sample (of the rows that share a first index). Batch norms use their running statistics.

    Shapes: [target.shape] float64, under the name of the target.
    """
    return _mean(job, torch.abs)


@own_pass("gate_squared", reads="labels")
def gate_squared(job: Job, option: float | None) -> Values:
    """(1/n) Σ_x (∂ℓ(x)/∂ξ_u)², the diagonal of the empirical Fisher matrix of the gates."""
    return _mean(job, torch.square)


@own_pass("gate_products", reads="labels")
def gate_products(job: Job, option: float | None) -> Values:
    """(1/n) Σ_x g gᵀ, g = ∂ℓ(x)/∂ξ: the block of the gates' Fisher matrix that a target owns.

    Taken in `job.reference` where there is one, the network before anything was removed.

    Shapes: [units, units] float64, under the name of the target.
    """
    dense = job if job.reference is None else replace(job, model=job.reference)
    return _sums(dense, gram)


def _mean(job: Job, each: Callable[[Tensor], Tensor]) -> Values:
    """The mean over samples of `each` of the gates' gradients, by unit."""
    made = _sums(job, lambda gates: each(gates).sum(0))
    return {target.name: made[target.name].view(target.shape) for target in job.targets}


def _sums(job: Job, each: Callable[[Tensor], Tensor]) -> Values:
    """What `each` makes of the gates' gradients [samples, units] of a batch, over all samples."""
    if not job.targets or job.batches is None:
        raise PlanError("gradients of gates need targets and batches; pass both")
    view = ModelView(job.model, job.targets)
    first = {target.name: readers(view, target)[0] for target in job.targets}
    totals: dict[str, Tensor | float] = dict.fromkeys(first, 0.0)
    samples = 0
    torch.manual_seed(derive(job.seed, "collect"))
    with torch.enable_grad(), evaluating(job.model):
        for number, batch in enumerate(job.batches, 1):
            gates, size = _gates(job, first, batch, number)
            samples += size
            for name, gate in gates.items():
                totals[name] = totals[name] + each(gate * size)
    if not samples:
        raise DataError("there are no batches to take gradients from; pass a list of batches")
    return {name: torch.as_tensor(total) / samples for name, total in totals.items()}


def _gates(
    job: Job, first: dict[str, Reader], batch: Any, number: int
) -> tuple[dict[str, Tensor], int]:
    """{target: [samples, units] the gates' gradients of the batch's mean loss}, number of samples."""
    with _entering(job.model, {reader.param for reader in first.values()}) as seen:
        loss = loss_of(job, batch, number)
    calls = [x for tensors in seen.values() for x in tensors]
    found = iter(torch.autograd.grad(loss, calls, materialize_grads=True))
    products: dict[str, Tensor] = {}  # weight -> [samples, features]
    for param, tensors in seen.items():
        parts = [_by_feature(job, param, x.detach(), next(found)) for x in tensors]
        products[param] = torch.stack(parts).sum(0)
    size = len(next(iter(products.values()))) if products else 0
    return {name: _by_unit(products, reader) for name, reader in first.items()}, size


@contextmanager
def _entering(model: nn.Module, params: set[str]) -> Iterator[Seen]:
    """Keep what enters the layers of these weights."""
    seen: Seen = {param: [] for param in params}

    def keeper(param: str) -> Callable[..., None]:
        return lambda module, args: seen[param].append(args[0])

    with ExitStack() as stack:
        for param in params:
            layer = model.get_submodule(param.rpartition(".")[0])
            stack.callback(layer.register_forward_pre_hook(keeper(param)).remove)
        yield seen


def _by_feature(job: Job, param: str, x: Tensor, gradient: Tensor) -> Tensor:
    """[samples, features] Σ over places of h ∂L/∂h."""
    layer = job.model.get_submodule(param.rpartition(".")[0])
    product = x.to(wide(x)).double() * gradient
    if isinstance(layer, _ConvNd):
        product = product.movedim(1, -1)
    return product.reshape(len(product), -1, product.shape[-1]).sum(1)


def _by_unit(products: dict[str, Tensor], reader: Reader) -> Tensor:
    """[samples, features] -> [samples, units]."""
    found, features = products[reader.param], reader.features
    if int(features.max()) >= found.shape[1]:
        raise PlanError(f"'{reader.param}' works in groups: its inputs cannot be told by unit")
    return found[:, features.to(found.device)].sum(2)
