"""Turn one layout per target into `Groups`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..core.layout import Layout
from ..core.types import Groups


def private(layouts: Mapping[str, Layout]) -> Groups:
    """Groups that never span targets: numbered one target after the other."""
    first: dict[str, int] = {}
    sizes: list[torch.Tensor] = []
    count = 0
    for name, layout in layouts.items():
        first[name] = count
        count += layout.units
        sizes.append(torch.full((layout.units,), layout.size, dtype=torch.long))
    return Groups(dict(layouts), first, torch.cat(sizes))
