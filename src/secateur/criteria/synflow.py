"""SynFlow: how much of the flow through the positive network passes a weight."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..core.axes import ElementCriterion, View
from ..core.component import register


@register("synflow")
class SynFlow(ElementCriterion):
    r"""s_i = |w_i| · ∂R/∂|w_i| with R = 1ᵀ (Π_l |θ_l|) 1, the synaptic saliency; data-free.

    w: the weight, θ_l: the parameters of layer l in the network made linear (`engine.linear`). The
    scores of every layer that all flow passes sum to R, and those into a neuron to those out of it;
    pruned in many small rounds, a layer therefore cannot die before its weights outweigh others'.

    Shapes: elements [shape of the parameter], float64.

    Paper: Tanaka, Kunin, Yamins, Ganguli 2020, arXiv 2006.05467 (100 rounds, exponential). Where
    the official code differs stands at the statistic `synaptic_flow`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"synaptic_flow"})

    def elements(self, view: View, param: str) -> Tensor:
        """|w| · dR/d|w|."""
        flow = view.stat("synaptic_flow", param)
        return view.weight(param).to(flow.dtype).abs() * flow
