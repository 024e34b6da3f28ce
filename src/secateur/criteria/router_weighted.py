"""Router-weighted activation: what an expert adds, as the router lets it through."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import Criterion, Speaks, View
from ..core.component import register
from ..core.types import Target


@register("router-weighted")
class RouterWeighted(Criterion):
    r"""s_e = (1/|X_e|) Σ_{x in X_e} g_e(x) ‖f_e(x)‖₂.

    X_e: the tokens whose router chose expert e, g_e: its share of the gate, f_e: its output. Experts
    that never were chosen score 0 and go first.

    Shapes: [target.shape], the experts of one layer, float64.

    Paper: Lasby, Lazarevich, Sinnadurai, Lie, Ioannou, Thangarasa 2025, arXiv 2510.13999. The gate
    is the one the network uses; the official code takes the softmax over all experts by default. Where
    the gate is on what experts are given (Llama 4) the score is the mean of ‖f_e(g_e(x) x)‖₂.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"routed_output"})
    speaks: ClassVar[Speaks] = "experts"

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] the mean over each expert's tokens."""
        return view.stat("routed_output", target.members[0].param).view(target.shape)
