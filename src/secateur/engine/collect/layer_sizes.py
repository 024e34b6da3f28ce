"""The sizes that a layer works at: what its weight alone does not tell."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ...core.errors import PlanError
from ...measure.forward import as_call, device_of
from .entering import caller_of, first_of
from .observing import forward
from .statistics import Job, Values, own_pass


@own_pass("layer_sizes", reads="nothing")
def layer_sizes(job: Job, option: float | None) -> Values:
    """(h, w, stride, places) of the layer of every weight: its input's height and width, and how often a
    sample (the first call counts) multiplies by the weight.

    A layer that reads no image has one of 1 by 1 and stride 0, and as many places as rows of a sample enter
    it. The shape of an example is all that matters; without one the first batch stands for it.

    Shapes: [4] float64.
    """
    found: Values = {}

    def look(param: str, module: nn.Module) -> Any:
        def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if param not in found:
                sizes = _sizes(module, first_of(args, kwargs), output)
                found[param] = torch.tensor(sizes, dtype=torch.float64)

        return after

    with ExitStack() as stack:
        for param in (name for name, value in job.params.items() if value.dim() >= 2):
            module = job.model.get_submodule(caller_of(job.model, param.rpartition(".")[0])[0])
            hook = module.register_forward_hook(look(param, module), with_kwargs=True)
            stack.callback(hook.remove)
        _run(job)
    return found


def _run(job: Job) -> None:
    if job.example is not None:
        with torch.no_grad():
            call = as_call(job.example).map(lambda tensor: tensor.to(device_of(job.model)))
            job.model(*call.args, **call.kwargs)
        return
    batch = next(iter(job.batches or ()), None)
    if batch is None:
        raise PlanError("statistic 'layer_sizes' needs the shape of an input; pass example=...")
    forward(job.model, batch)


def _sizes(module: nn.Module, x: Tensor, output: Any) -> tuple[float, ...]:
    """(h, w, stride, places); an image of one dimension has the height 1."""
    out = output[0] if isinstance(output, tuple) else output
    if not isinstance(module, _ConvNd):
        return 1.0, 1.0, 0.0, x.numel() / (x.shape[-1] * x.shape[0])
    h, w = (1, *x.shape[2:])[-2:]
    return float(h), float(w), float(module.stride[-1]), float(out[0, 0].numel())
