"""The first-order change of the loss when a unit's first tensor goes, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import PlanError
from ...core.types import Target
from ..rewrite import evaluating
from .loop import each_batch
from .statistics import Job, Values, own_pass


@own_pass("unit_taylor", reads="labels")
def unit_taylor(job: Job, option: float | None) -> Values:
    r"""t_u = (1/B) Σ_b (Σ_i w_i g_bi)² over the elements i that unit u has in its first tensor.

    w: the weight, g_b: the gradient of the loss of batch b. Batch norms use their running
    statistics: under those of the batch the loss does not depend on a filter's length, so that the
    sum over a filter would vanish.

    Shapes: [target.shape] float64, under the name of the target.
    """
    if not job.targets:
        raise PlanError("the change per unit needs targets; parameter names alone name no units")
    places = {name: i for i, name in enumerate(job.params)}
    totals = {t.name: torch.zeros(t.units, dtype=torch.float64) for t in job.targets}

    def add(gradients: Sequence[Tensor]) -> None:
        for target in job.targets:
            total = totals[target.name]
            total += _change(job, target, gradients, places).square().to(total.device)

    with evaluating(job.model):
        count = each_batch(job, add)
    device = next(iter(job.params.values())).device
    return {t.name: (totals[t.name] / count).view(t.shape).to(device) for t in job.targets}


def _change(
    job: Job, target: Target, gradients: Sequence[Tensor], places: dict[str, int]
) -> Tensor:
    """[units] Σ w g over the first tensor."""
    first = target.members[0].param
    product = job.params[first].detach().double() * gradients[places[first]].detach().double()
    parts = [m.layout.matrix(product).sum(1) for m in target.members if m.param == first]
    return torch.stack(parts).sum(0)
