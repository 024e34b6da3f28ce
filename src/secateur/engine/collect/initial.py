"""The weights at step 0."""

from __future__ import annotations

from ...core.errors import PlanError
from .statistics import Job, Values, own_pass


@own_pass("initial", reads="nothing")
def initial(job: Job, option: float | None) -> Values:
    """w_0, the weights at step 0, as the caller kept them.

    Shapes: [shape of the parameter], on the parameter's device.
    """
    if job.initial is None:
        raise PlanError(
            "statistic 'initial' needs the weights at step 0; pass initial={name: tensor} "
            "(a run keeps them by itself)"
        )
    values = {}
    for name, parameter in job.params.items():
        if name not in job.initial or job.initial[name].shape != parameter.shape:
            raise PlanError(
                f"the initial weights hold no '{name}' of shape {tuple(parameter.shape)}; "
                "they belong to another model"
            )
        values[name] = job.initial[name].detach().to(parameter.device)
    return values
