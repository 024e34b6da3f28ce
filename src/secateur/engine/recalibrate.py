"""New running statistics for batch norms, from data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import DataError, PlanError
from ..core.random import derive
from .collect.observing import forward
from .collect.state import generators_kept
from .rewrite import evaluating


def recalibrate(model: nn.Module, batches: Iterable[Any] | None, seed: int = 0) -> None:
    """Set every running mean and variance to the mean over `batches` of the batch's own.

    Nothing else changes: no weight, no momentum, no mode; dropout is off. A network without running
    statistics, or no data, is an error.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise PlanError(
            "recovery 'bn-recalibration': the network has no batch norm with running statistics"
        )
    if batches is None:
        raise PlanError("recovery 'bn-recalibration' needs data to look at; pass data=...")
    momenta = [norm.momentum for norm in norms]
    count = 0
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        with (
            generators_kept(next(model.parameters()).device),
            evaluating(model, batch_statistics=True),
        ):
            torch.manual_seed(derive(seed, "recalibrate"))
            for count, batch in enumerate(batches, 1):  # noqa: B007
                forward(model, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not count:
        raise DataError("recovery 'bn-recalibration': there are no batches to look at")
