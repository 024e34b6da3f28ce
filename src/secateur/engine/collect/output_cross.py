"""What a layer ought to put out, against what enters it now: for solvers that make up for removals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.axes import wide
from ...core.errors import DataError, PlanError
from ...core.padding import valid_of, valid_only
from ...core.random import derive
from ...core.reads import readers
from ..rewrite import evaluating
from ..view import ModelView
from .observing import as_rows, forward
from .statistics import Job, Values, own_pass

Enter = Callable[[str, nn.Module, Tensor], None]
"""Called with the weight's name, its layer, and what enters the layer."""


@own_pass("output_cross", reads="inputs")
def output_cross(job: Job, option: float | None) -> Values:
    r"""C = (1/n) Σ_r y_r x_rᵀ, y = W° x° what the layer put out in the reference network, without bias.

    x: what enters the layer now, W° and x°: weight and input in `job.reference`, on the same batch;
    without a reference the network is its own, and C = W G with G the Gram matrix of x. Of the
    layers that read the units of the job's targets; windows of convolutions, padding left out.

    Shapes: [out, in * kernel] float64, under the name of the layer's weight.
    """
    if not job.targets or job.batches is None:
        raise PlanError("what layers ought to put out needs targets and batches; pass both")
    reference = job.model if job.reference is None else job.reference
    weights = _weights(job, reference)
    sums, rows = dict.fromkeys(weights, torch.zeros(())), dict.fromkeys(weights, 0)
    wanted: dict[str, list[Tensor]] = {param: [] for param in weights}
    current: list[Any] = [None]

    def before(param: str, layer: nn.Module, x: Tensor) -> None:
        wanted[param].append(x)

    def now(param: str, layer: nn.Module, x: Tensor) -> None:
        original = wanted[param].pop(0) if job.reference is not None else x
        found, n = _cross(layer, weights[param], original, x, valid_of(current[0]), param)
        sums[param], rows[param] = sums[param].to(found) + found, rows[param] + n

    torch.manual_seed(derive(job.seed, "collect"))
    with evaluating(job.model), _entering(job.model, weights, now):
        for current[0] in job.batches:
            if job.reference is not None:
                with evaluating(reference), _entering(reference, weights, before):
                    forward(reference, current[0])
            forward(job.model, current[0])
    if not all(rows.values()):
        raise DataError(
            "there are no batches to look at, or all is padding; pass a list of batches"
        )
    return {param: sums[param] / rows[param] for param in weights}


def _weights(job: Job, reference: nn.Module) -> dict[str, Tensor]:
    """[out, in * kernel] in float64 of every layer that reads a target."""
    view = ModelView(reference, job.targets)
    every = {r.param: r for target in job.targets for r in readers(view, target)}
    return {param: reader.weight(view).flatten(1) for param, reader in every.items()}


def _cross(
    layer: nn.Module, weight: Tensor, original: Tensor, x: Tensor, valid: Tensor | None, param: str
) -> tuple[Tensor, int]:
    """[out, in * kernel] Σ y xᵀ of one call, and of how many rows."""
    now = _rows(layer, x, valid, param)
    then = now if original is x else _rows(layer, original, valid, param)
    if then.shape != (len(now), weight.shape[1]):
        raise PlanError(
            f"'{param}' works in groups, or reads other rows than before: what it ought to put out "
            "cannot be told; leave it out, or drop the solver"
        )
    y = then @ weight.to(then).T  # [n, out]
    return (y.T @ now).double(), len(now)


def _rows(layer: nn.Module, x: Tensor, valid: Tensor | None, param: str) -> Tensor:
    chosen = valid_only(x, valid, param)
    return as_rows(layer, chosen.to(wide(chosen)), "input")


@contextmanager
def _entering(model: nn.Module, weights: Mapping[str, Tensor], enter: Enter) -> Iterator[None]:
    """Inside, `enter` is told whatever enters the layers of these weights."""

    def hook(param: str) -> Callable[..., None]:
        return lambda layer, args: enter(param, layer, args[0].detach())

    with ExitStack() as stack:
        for param in weights:
            layer = model.get_submodule(param.rpartition(".")[0])
            stack.callback(layer.register_forward_pre_hook(hook(param)).remove)
        yield
