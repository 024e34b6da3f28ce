"""The product of the Hessian of the loss and its gradient, for GraSP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...core.axes import wide
from ...core.errors import PlanError
from .loop import each_batch, means
from .statistics import PER_BATCH, Job, Values, own_pass


@own_pass("hessian_gradient", reads="labels")
def hessian_gradient(job: Job, temperature: float | None) -> Values:
    r"""H g of the mean loss, where g and the columns of H run over the job's parameters.

        g = (1/B) Σ_b dL_b/dw,   H g = (1/B) Σ_b d(gᵀ dL_b/dw)/dw,   L_b = loss(f(x_b) / T)

    Two loops over the batches: the first for g, the second differentiates gᵀ(dL_b/dw) once more
    with g held fixed. T, the number after the colon (`hessian_gradient:200`, 1 without one),
    divides the logits. Pruned weights (`masks`) have no part in g.

    Shapes: [shape of the parameter], float32 or wider.

    Paper: Wang, Zhang, Grosse 2020, arXiv 2002.07376. The official code sums over batches where
    this takes means (the order is the same) and hands each half of its data to the net as a batch.
    """
    t = 1.0 if temperature is None else temperature
    if not t > 0:
        raise PlanError(f"temperature {t:g} is not positive; GraSP's official code uses 200")
    g = _gradient(job, t)
    return hessian_times(job, g, t)


def hessian_times(job: Job, vector: Sequence[Tensor], temperature: float = 1.0) -> Values:
    """H v of the mean loss for one tensor `v` per parameter of the job, in one loop."""
    total = [torch.zeros_like(p, dtype=wide(p), requires_grad=False) for p in job.params.values()]

    def add(gradients: Sequence[Tensor]) -> None:
        parts = zip(vector, gradients, strict=True)
        product = torch.stack([(a * b).sum() for a, b in parts]).sum()
        if not product.requires_grad:  # the loss is linear in the parameters: H = 0
            return
        found = torch.autograd.grad(product, list(job.params.values()), materialize_grads=True)
        for sums, part in zip(total, found, strict=True):
            sums += part.to(sums.dtype)

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
        count = each_batch(job, add, temperature=temperature, graph=True)
    return {name: sums / count for name, sums in zip(job.params, total, strict=True)}


def _gradient(job: Job, temperature: float) -> list[Tensor]:
    """The mean gradient at this temperature, without the pruned weights."""
    if temperature == 1 and "gradient" in job.means:
        values = job.means["gradient"]
    else:
        values = means(job, {"gradient": PER_BATCH["gradient"]}, temperature)["gradient"]
    masks = job.masks
    return [v * masks[n].to(v.device) if n in masks else v for n, v in values.items()]
