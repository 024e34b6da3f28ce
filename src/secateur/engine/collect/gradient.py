"""The gradient of the loss, signed."""

from __future__ import annotations

from torch import Tensor

from .statistics import per_batch


@per_batch("gradient")
def gradient(batch_gradient: Tensor) -> Tensor:
    r"""g_i = (1/B) Σ_b dL_b/dw_i, the signed gradient of the mean of the batch losses L_b.

    Shapes: [shape of the parameter], float32 or wider. Batches weigh the same, also where the
    last one is smaller. Pruned weights are zero and get the gradient at that point, provided that
    the hooks of hard masks are suspended (`suspended` of `collect`).
    """
    return batch_gradient
