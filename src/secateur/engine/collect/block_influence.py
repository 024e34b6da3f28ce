"""How much each repeated block turns what flows through it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ...core.errors import DataError, PlanError
from ...core.types import Target
from .observing import Valid
from .statistics import Values, watched


@watched("block_influence")
@contextmanager
def block_influence(
    model: nn.Module, targets: tuple[Target, ...], params: Collection[str], valid: Valid
) -> Iterator[Callable[[], Values]]:
    r"""BI_l = 1 − (1/n) Σ_r cos(x_r, y_r) of each layer l, keyed by the names of the targets.

    x, y: what enters and leaves the layer, [tokens, width] or, of feature maps, [places, channels];
    padding is left out. A row of zeros has no direction and counts as a cosine of 0.

    Shapes: [target.shape] float64.
    """
    layers = [target for target in targets if target.kind == "layers"]
    if not layers:
        raise PlanError("block influence is one of whole layers; use structure 'layers'")
    sums = {target.name: [0.0, 0] for target in layers}  # sum of cosines, rows
    with ExitStack() as stack:
        for target in layers:
            module = model.get_submodule(target.layer)
            hook = _hook(sums[target.name], valid, _features(module))
            made = module.register_forward_hook(hook, with_kwargs=True, prepend=True)
            stack.callback(made.remove)
        yield lambda: _values(model, layers, sums)


def _values(model: nn.Module, layers: list[Target], sums: dict[str, list[Any]]) -> Values:
    if not all(rows for _, rows in sums.values()):
        raise DataError("block influence saw no token; the data are empty or all padding")
    found = {}
    for target in layers:
        total, rows = sums[target.name]
        device = model.get_parameter(target.members[0].param).device
        value = torch.full(target.shape, 1 - total / rows, dtype=torch.float64, device=device)
        found[target.name] = value
    return found


def _features(block: nn.Module) -> int:
    """The dimension of features: 1 where the block begins with a layer of feature maps, else the last."""
    leaves = (m for m in block.modules() if next(m.parameters(recurse=False), None) is not None)
    maps = isinstance(next(leaves, None), _ConvNd | _NormBase | nn.GroupNorm)
    return 1 if maps else -1


def _hook(sums: list[Any], valid: Valid, features: int) -> Any:
    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        before = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values())))
        after = output[0] if isinstance(output, tuple) else output
        cosines = F.cosine_similarity(
            before.double(), after.double(), dim=features
        )  # [batch, tokens]
        there = valid()
        if there is not None and there.shape == cosines.shape:
            cosines = cosines[there.to(cosines.device)]
        sums[0] += float(cosines.sum())
        sums[1] += cosines.numel()

    return look
