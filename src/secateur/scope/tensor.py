"""Each tensor by itself (layer-wise, local pruning)."""

from __future__ import annotations

from ..core.axes import Scope
from ..core.component import register
from ..core.layout import one_group
from ..core.types import Groups, Target
from .build import private


@register("tensor")
class Tensorwise(Scope):
    """Units compete within their own target: every layer gets a budget of its own."""

    def groups(self, targets: tuple[Target, ...]) -> Groups:
        """One group per target."""
        return private({t.name: one_group(t.shape) for t in targets})
