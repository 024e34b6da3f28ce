"""Block influence: a layer that hardly turns the residual stream is worth least."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target


@register("block-influence")
class BlockInfluence(Criterion):
    r"""s_l = 1 − (1/n) Σ_r cos(x_r, y_r), x and y what enters and leaves layer l for each token r.

    Of feature maps a row is a place with its channels.

    Shapes: [target.shape], one layer a target, float64.

    Paper: Men, Xu, Zhang, Wang, Lin, Lu, Han, Chen 2024, arXiv 2403.03853. Padding never counts; the
    official code counts whatever the batch holds.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"block_influence"})
    speaks: ClassVar[Speaks] = "layers"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the influence of the layer the target is."""
        return view.stat("block_influence", target.name)
