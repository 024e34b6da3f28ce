"""How much each repeated block turns what flows through it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import DataError, PlanError
from ...core.stack import repeated_blocks
from .observing import forward, valid_of
from .statistics import Job, Values, own_pass


@own_pass("block_influence")
def block_influence(job: Job, option: float | None) -> Values:
    r"""BI_l = 1 − (1/n) Σ_r cos(x_r, y_r) of each repeated block l, under the names of its parameters.

    x, y: what enters and leaves the block, [tokens, width]; padding is left out. A row of zeros has
    no direction and counts as a cosine of 0.

    Shapes: [] float64.
    """
    blocks = repeated_blocks(job.model)
    if not blocks:
        raise PlanError("block influence needs a network of repeated blocks, such as a transformer")
    if job.batches is None:
        raise PlanError("block influence needs batches; pass data=...")
    sums = {block: [0.0, 0] for block in blocks}  # sum of cosines, rows
    with ExitStack() as stack:
        current: list[Any] = [None]
        for block in blocks:
            hook = _hook(sums[block], current)
            module = job.model.get_submodule(block)
            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for current[0] in job.batches:
            forward(job.model, current[0])
    if not all(rows for _, rows in sums.values()):
        raise DataError("block influence saw no token; the data are empty or all padding")
    return _by_parameter(job, {b: 1 - total / rows for b, (total, rows) in sums.items()})


def _hook(sums: list[Any], current: list[Any]) -> Any:
    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        before = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values())))
        after = output[0] if isinstance(output, tuple) else output
        cosines = F.cosine_similarity(before.double(), after.double(), dim=-1)  # [batch, tokens]
        valid = valid_of(current[0])
        if valid is not None and valid.shape == cosines.shape:
            cosines = cosines[valid.to(cosines.device)]
        sums[0] += float(cosines.sum())
        sums[1] += cosines.numel()

    return look


def _by_parameter(job: Job, found: Mapping[str, float]) -> Values:
    """The value of the block that each parameter lies in."""
    values: dict[str, Tensor] = {}
    for name, parameter in job.params.items():
        for block, value in found.items():
            if name.startswith(f"{block}."):
                values[name] = torch.tensor(value, dtype=torch.float64, device=parameter.device)
    return values
