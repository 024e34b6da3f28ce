"""Products of the Hessian of the loss with the weights, and its diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.axes import wide
from ...core.errors import PlanError
from ...core.random import generator
from ...core.types import element_masks
from ..rewrite import evaluating
from .hessian_gradient import hessian_times
from .loop import means
from .statistics import PER_BATCH, Job, Values, own_pass

DRAWS = 8
"""Random vectors of `hessian_diagonal` where its name says no other number."""


@own_pass("gradient_inference", reads="labels")
def gradient_inference(job: Job, option: float | None) -> Values:
    """g of the mean loss with batch norms at their running statistics, as `gradient` otherwise."""
    with evaluating(job.model):
        return means(job, {"gradient": PER_BATCH["gradient"]})["gradient"]


@own_pass("hessian_weight", reads="labels")
def hessian_weight(job: Job, option: float | None) -> Values:
    r"""H θ, with θ the weights that the targets' units own (every weight, where there are no targets).

    Batch norms use their running statistics. Shapes: [shape of the parameter], float32 or wider.
    """
    with evaluating(job.model):
        return hessian_times(job, _owned(job))


def _owned(job: Job) -> list[Tensor]:
    """The weights, zero outside of what the targets own."""
    values = {name: p.detach() for name, p in job.params.items()}
    if not job.targets:
        return list(values.values())
    shapes = {name: value.shape for name, value in values.items()}
    none = {t.name: torch.zeros(t.shape, dtype=torch.bool) for t in job.targets}
    outside = element_masks(job.targets, none, shapes)
    return [
        v.masked_fill(outside[n].to(v.device), 0) if n in outside else v for n, v in values.items()
    ]


@own_pass("hessian_diagonal", reads="labels")
def hessian_diagonal(job: Job, draws: float | None) -> Values:
    r"""h_i = (1/K) Σ_k v_ki (H v_k)_i with signs v_ki = ±1 drawn at random (Hutchinson): E h = diag H.

    K, the number after the colon (`hessian_diagonal:32`, 8 without one), takes as many loops over
    the batches. Exact where H is diagonal; the error falls with √K. Batch norms use their running
    statistics.

    Shapes: [shape of the parameter], float32 or wider.
    """
    count = DRAWS if draws is None else draws
    if count != int(count) or count < 1:
        raise PlanError(
            f"hessian_diagonal:{count:g}: the number of draws is a whole one, 1 or more"
        )
    total = {
        n: torch.zeros_like(p, dtype=wide(p), requires_grad=False) for n, p in job.params.items()
    }
    with evaluating(job.model):
        for k in range(int(count)):
            signs = {name: _signs(job, k, name, sums) for name, sums in total.items()}
            for name, product in hessian_times(job, list(signs.values())).items():
                total[name] += signs[name] * product
    return {name: sums / int(count) for name, sums in total.items()}


def _signs(job: Job, draw: int, name: str, like: Tensor) -> Tensor:
    """±1 of a parameter's shape."""
    rng = generator(job.seed, "signs", draw, name)
    return (torch.randint(0, 2, like.shape, generator=rng) * 2 - 1).to(like)
