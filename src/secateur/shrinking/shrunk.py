"""What `shrink` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core.edits import Edits


@dataclass(frozen=True)
class Shrunk:
    """What `shrink` returns.

    Attributes:
        model: the smaller network, on its own: no masks, no hooks but the user's.
        kept: structure -> numbers of the units that stayed, for every one that lost some; a layer
            that is gone keeps none.
        record: `level` (A ordinary modules, B with inferred attributes, C with some graph modules,
            D a graph), `proof` (relative difference of removed and masked, and of masked and whole,
            on random weights in float64), `error` (of the delivered module from the proved graph),
            `difference` (of the outputs on the example, from the masked network; a rounding error
            where `exact` is true), parameters, MACs and units before and after, layers dropped,
            attributes and settings of the configuration changed, modules replaced; `loadable`:
            `stock` where the stock class builds the network from its configuration, else `secateur`
            and `why`; `optimizer`: what became of the state of each parameter, by its name before
            (`cut`, `kept` as it was, `reset` to begin anew, `none` where there was none, `gone`);
            `pruning`, the record of the result that was shrunk.
        edits: the removal as plain data, which `save` writes down; the network remembers it too.
    """

    model: nn.Module
    kept: dict[str, tuple[int, ...]]
    record: dict[str, Any]
    edits: Edits
