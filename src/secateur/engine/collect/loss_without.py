"""The loss of the network without each unit, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ...core.errors import DataError, NumberError, PlanError
from ...core.random import derive
from ...core.types import Target
from .statistics import Job, Values, own_pass

MOST = 10_000
"""Units beyond which a pass over the data for each of them is a mistake."""


@own_pass("loss_without", reads="labels")
def loss_without(job: Job, option: float | None) -> Values:
    r"""d_u = L(w with unit u's elements zero) − L(w), L the mean of the batch losses.

    Keyed by the names of the targets, not of parameters. Units + 1 passes over the batches, all with
    the same seed.

    Shapes: [target.shape] float64.
    """
    units = sum(target.units for target in job.targets)
    if not units:
        raise PlanError(
            "the loss without a unit needs targets; parameter names alone name no units"
        )
    if units > MOST:
        raise PlanError(
            f"the loss without each of {units:,} units takes as many passes over the data; "
            f"at most {MOST:,} are done: choose larger structures, or a criterion of gradients"
        )
    whole = _mean_loss(job)
    return {target.name: _without(job, target) - whole for target in job.targets}


def _without(job: Job, target: Target) -> Tensor:
    """[target.shape] the loss without each unit."""
    losses = torch.empty(target.units, dtype=torch.float64)
    for unit in range(target.units):
        with _zeroed(job, target, unit):
            losses[unit] = _mean_loss(job)
    return losses.view(target.shape).to(next(iter(job.params.values())).device)


@contextmanager
def _zeroed(job: Job, target: Target, unit: int) -> Iterator[None]:
    """The unit's elements are zero inside, and what they were afterwards."""
    places = []
    for member in target.members:
        index = np.unravel_index(unit, member.layout.lead_shape)
        places.append(member.layout.view(job.params[member.param].data)[index])
    kept = [place.clone() for place in places]
    try:
        for place in places:
            place.zero_()
        yield
    finally:
        for place, copy in zip(places, kept, strict=True):
            place.copy_(copy)


@torch.no_grad()
def _mean_loss(job: Job) -> float:
    if job.batches is None or job.loss is None:
        raise PlanError(
            "the loss without a unit needs batches and a loss; pass data=... and loss=..."
        )
    torch.manual_seed(derive(job.seed, "collect"))
    losses = [float(job.loss(job.model, batch)) for batch in job.batches]
    if not losses:
        raise DataError("there are no batches to take the loss of; pass a list of batches")
    mean = float(np.mean(losses))
    if not np.isfinite(mean):
        raise NumberError(f"the loss without a unit is {mean}; check weights and data")
    return mean
