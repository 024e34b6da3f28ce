"""The mean magnitude of the gradient of a batch."""

from __future__ import annotations

from torch import Tensor

from .statistics import per_batch


@per_batch("gradient_abs")
def gradient_abs(batch_gradient: Tensor) -> Tensor:
    r"""a_i = (1/B) Σ_b |dL_b/dw_i|: gradients of opposite batches do not cancel.

    Shapes: [shape of the parameter], float32 or wider. Per batch, not per sample: L_b is the loss
    that `loss` makes of batch b; batches of one sample give the mean over samples.
    """
    return batch_gradient.abs()
