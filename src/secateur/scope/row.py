"""Each output by itself: the weights that make one output compete."""

from __future__ import annotations

from ..core.axes import Scope
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import Layout
from ..core.types import Groups, Target
from .build import private


@register("row")
class Row(Scope):
    """Weights compete within their row (linear) or filter (convolution), as in Wanda."""

    def groups(self, targets: tuple[Target, ...]) -> Groups:
        """One group per output (of each expert) of each target; shape [out][in * k...]."""
        return private({t.name: _rows(t) for t in targets})


def _rows(target: Target) -> Layout:
    if "out" not in target.dims or len(target.shape) < 2:
        raise PlanError(
            f"scope 'row' needs weights with outputs and inputs; '{target.name}' is a grid of "
            f"{target.dims or target.shape}. Use scope 'tensor' or 'model'"
        )
    lead = tuple(i for i, dim in enumerate(target.dims) if dim in ("expert", "out"))
    rest = tuple(i for i in range(len(target.shape)) if i not in lead)
    return Layout(target.shape, (*lead, *rest), lead=len(lead))
