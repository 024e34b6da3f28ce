"""All units of the model together (global pruning)."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..core.axes import Scope
from ..core.component import register
from ..core.layout import one_group
from ..core.types import Groups, Target


@register("model")
class Model(Scope):
    """Units of all targets compete in one group; layers end with densities of their own."""

    across_targets: ClassVar[bool] = True

    def groups(self, targets: tuple[Target, ...]) -> Groups:
        """One group over all targets."""
        total = sum(t.units for t in targets)
        layouts = {t.name: one_group(t.shape) for t in targets}
        return Groups(layouts, dict.fromkeys(layouts, 0), torch.tensor([total]))
