"""The loop over the batches that all gradient statistics share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.axes import wide
from ...core.errors import DataError, NumberError, PlanError
from ...core.random import derive
from .statistics import Job, PerBatch, Values

Visit = Callable[[Sequence[Tensor]], None]
"""What is done with the gradients of one batch, one per parameter of the job, in order."""


def each_batch(job: Job, visit: Visit, *, temperature: float = 1.0, graph: bool = False) -> int:
    """Call `visit` with dL_b/dw of every batch b; returns how many batches there were.

    The global generator is seeded alike before every loop, so that two loops over a shuffling
    loader see the same batches.

    Args:
        temperature: the model's output (its logits) is divided by it before the loss sees it.
        graph: keep the graph, for second derivatives.
    """
    if job.batches is None or job.loss is None:
        raise PlanError(
            "gradient statistics need batches and a loss; pass batches=... and loss=..."
        )
    torch.manual_seed(derive(job.seed, "collect"))
    params = list(job.params.values())
    count = 0
    with torch.enable_grad(), _cooled(job.model, temperature):
        for count, batch in enumerate(job.batches, 1):
            loss = loss_of(job, batch, count)
            visit(torch.autograd.grad(loss, params, create_graph=graph, materialize_grads=True))
    if count == 0:
        raise DataError(
            "there are no batches to take gradients from: the loader is empty, or an iterator that "
            "can be read once only; pass a list of batches or a DataLoader"
        )
    return count


def loss_of(job: Job, batch: Any, number: int) -> Tensor:
    """The finite scalar loss of one batch, with a graph."""
    assert job.loss is not None
    try:
        loss = job.loss(job.model, batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise DataError(
            f"batch {number} gives a batch norm one value per channel, which has no variance; use "
            "larger batches, or the running statistics with batch_statistics=False"
        ) from None
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise DataError(f"the loss must be a scalar tensor, not {got}; take its mean")
    if not bool(torch.isfinite(loss)):
        raise NumberError(
            f"the loss of batch {number} is {float(loss.detach())}; check weights and data"
        )
    if not loss.requires_grad:
        raise DataError("the loss does not depend on the model's parameters; is it detached?")
    return loss


@contextmanager
def _cooled(model: nn.Module, temperature: float) -> Iterator[None]:
    """Divide the model's output by `temperature`; refuse outputs that are no tensor of logits."""
    if temperature == 1:
        yield
        return
    calls = []

    def divide(module: nn.Module, args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise PlanError(
                f"a temperature of {temperature:g} needs a model that returns a tensor of logits, "
                f"not {type(output).__name__}; use temperature 1"
            )
        calls.append(1)
        return output / temperature

    hook = model.register_forward_hook(divide)
    try:
        yield
    finally:
        hook.remove()
    if not calls:
        raise PlanError(
            f"a temperature of {temperature:g} was asked for, but the loss never calls the model "
            "itself; use temperature 1"
        )


def means(
    job: Job, functions: Mapping[str, PerBatch], temperature: float = 1.0
) -> dict[str, Values]:
    """{statistic: {parameter: mean over the batches of function(dL_b/dw)}} in one loop.

    Every batch weighs the same; sums are kept in float32, or float64 for float64 parameters.
    """
    sums = {
        name: [torch.zeros_like(p, dtype=wide(p), requires_grad=False) for p in job.params.values()]
        for name in functions
    }

    def add(gradients: Sequence[Tensor]) -> None:
        for name, function in functions.items():
            for total, gradient in zip(sums[name], gradients, strict=True):
                total += function(gradient.detach().to(total.dtype))

    count = each_batch(job, add, temperature=temperature)
    return {
        name: {p: total / count for p, total in zip(job.params, totals, strict=True)}
        for name, totals in sums.items()
    }
