"""The derivative of the positive linear network by its weights, for SynFlow."""

from __future__ import annotations

import torch

from ..linear import flow
from .statistics import Job, Values, own_pass


@own_pass("synaptic_flow", reads="nothing")
def synaptic_flow(job: Job, option: float | None) -> Values:
    r"""dR/d|w_i| with R = 1ᵀ (Π_l |θ_l|) 1, data-free and in float64 (see `engine.linear`).

    Shapes: [shape of the parameter], float64.

    Paper: Tanaka, Kunin, Yamins, Ganguli 2020, arXiv 2006.05467. The official code also takes the
    absolute values of biases and batch-norm shifts and adds them to the flow, works in float32 and
    leaves norms as they are in evaluation mode; here the network is linear, as the paper has it.
    """
    total, leaves = flow(job.model, job.example, job.masks)
    wanted = [leaves[name] for name in job.params]
    gradients = torch.autograd.grad(total, wanted, materialize_grads=True)
    return dict(zip(job.params, gradients, strict=True))
