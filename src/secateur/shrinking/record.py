"""What a removal says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from .made import Made


def describe(stock: nn.Module, made: Made) -> dict[str, Any]:
    """The record of a removal, plain data."""
    out = {
        "parameters": [sum(p.numel() for p in m.parameters()) for m in (stock, made.module)],
        "units": {axis.name: [len(units), axis.units] for axis, units in made.plan.items()},
        "layers": list(made.edits.layers),
        "attributes": [str(change) for change in made.edits.attributes],
        "config": [str(setting) for setting in made.fit.settings],
        "loadable": "secateur" if made.fit.why else "stock",
        "why": made.fit.why,
        **made.facts,
    }
    if made.traced is not None and made.removal is not None:
        kept = {axis.var: np.asarray(units) for axis, units in made.plan.items()}
        out["macs"] = [made.traced.macs(), made.traced.macs(kept)]
        out["free_batch"] = made.traced.inference.captured.dynamic
        out["replaced"] = list(made.removal.replaced)
        out["failed"] = dict(made.removal.failed)
    return out
