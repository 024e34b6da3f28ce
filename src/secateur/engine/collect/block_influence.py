"""How much each repeated block turns what flows through it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ...core.errors import DataError, PlanError
from .observing import forward, valid_of
from .statistics import Job, Values, own_pass


@own_pass("block_influence")
def block_influence(job: Job, option: float | None) -> Values:
    r"""BI_l = 1 − (1/n) Σ_r cos(x_r, y_r) of each layer l, keyed by the names of the targets.

    x, y: what enters and leaves the layer, [tokens, width] or, of feature maps, [places, channels];
    padding is left out. A row of zeros has no direction and counts as a cosine of 0.

    Shapes: [target.shape] float64.
    """
    layers = [target for target in job.targets if target.kind == "layers"]
    if not layers:
        raise PlanError("block influence is one of whole layers; use structure 'layers'")
    if job.batches is None:
        raise PlanError("block influence needs batches; pass data=...")
    sums = {target.name: [0.0, 0] for target in layers}  # sum of cosines, rows
    with ExitStack() as stack:
        current: list[Any] = [None]
        for target in layers:
            module = job.model.get_submodule(target.layer)
            hook = _hook(sums[target.name], current, _features(module))
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for current[0] in job.batches:
            forward(job.model, current[0])
    if not all(rows for _, rows in sums.values()):
        raise DataError("block influence saw no token; the data are empty or all padding")
    device = next(job.model.parameters()).device
    return {
        target.name: torch.full(
            target.shape, 1 - sums[target.name][0] / sums[target.name][1],
            dtype=torch.float64, device=device,
        )
        for target in layers
    }  # fmt: skip


def _features(block: nn.Module) -> int:
    """The dimension of features: 1 where the block begins with a layer of feature maps, else the last."""
    leaves = (m for m in block.modules() if next(m.parameters(recurse=False), None) is not None)
    maps = isinstance(next(leaves, None), _ConvNd | _NormBase | nn.GroupNorm)
    return 1 if maps else -1


def _hook(sums: list[Any], current: list[Any], features: int) -> Any:
    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        before = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values())))
        after = output[0] if isinstance(output, tuple) else output
        cosines = F.cosine_similarity(
            before.double(), after.double(), dim=features
        )  # [batch, tokens]
        valid = valid_of(current[0])
        if valid is not None and valid.shape == cosines.shape:
            cosines = cosines[valid.to(cosines.device)]
        sums[0] += float(cosines.sum())
        sums[1] += cosines.numel()

    return look
