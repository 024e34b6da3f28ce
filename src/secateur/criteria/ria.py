"""RIA: a weight's share of its row and of its column, times a power of the input's norm."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.axes import ElementCriterion, View, wide
from ..core.component import register
from ..core.matrix import matrix, unmatrix
from .wanda import input_norm


@register("ria")
class Ria(ElementCriterion):
    r"""s_ij = (|W_ij| / Σ_k |W_ik| + |W_ij| / Σ_k |W_kj|) · ‖X_j‖^a: relative importance and activation.

    W: the weight [out, in]; the first sum runs over the inputs of an output, the second over the
    outputs of an input, so that no row or column is pruned as a whole. ‖X_j‖: the root mean square of
    input j, `input_square`. Rows and columns of zeros score 0, and so do biases, which have neither.

    Shapes: elements [shape of the parameter].

    Attributes:
        power: a; 0 ignores the activations, 1 weighs them as Wanda does.

    Paper: Zhang, Bai, Lin, Zhao, Hou, Cannistraci 2024, "Plug-and-Play: An Efficient Post-training
    Pruning Method for Large Language Models" (ICLR 2024), a = 0.5. Its permutation of channels for
    N:M is basis `spread-inputs`.
    """

    power: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    needs = frozenset({"input_square"})

    def elements(self, view: View, param: str) -> Tensor:
        """Relative importance times the power of the inputs' norms."""
        weight = view.weight(param)
        size = weight.to(wide(weight)).abs()
        if size.dim() < 2:
            return size * 0
        rows = matrix(size, view.dims(param))  # [..., out, in * kernel]
        shares = _share(rows, -1) + _share(rows, -2)
        shares = unmatrix(shares, view.dims(param), tuple(size.shape))
        return shares * input_norm(view, param, size).pow(self.power)


def _share(rows: Tensor, dim: int) -> Tensor:
    """Each element over the sum along `dim`; 0 where the sum is 0."""
    total = rows.sum(dim, keepdim=True)
    return rows / total.masked_fill(total == 0, 1)
