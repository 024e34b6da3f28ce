"""The mean square of the gradient of a batch: the diagonal of the empirical Fisher matrix."""

from __future__ import annotations

from torch import Tensor

from .statistics import per_batch


@per_batch("gradient_squared")
def gradient_squared(batch_gradient: Tensor) -> Tensor:
    r"""F_i = (1/B) Σ_b (dL_b/dw_i)².

    Shapes: [shape of the parameter], float32 or wider. Per batch, not per sample: with batches of
    one sample this is the diagonal of the empirical Fisher matrix; with batches of n samples and
    their mean loss it is that of the batch means, about 1/n of it plus the squared mean gradient.
    """
    return batch_gradient.square()
