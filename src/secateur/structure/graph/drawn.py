"""What random operators draw while two networks are compared: the same for the units that stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from secateur.structure.graph.culprit import kept_part
from secateur.structure.graph.graph_run import GraphRun
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept


def drawing_what_the_first_drew(
    found: Inference, kept: Kept, masked: GraphRun, removed: GraphRun
) -> list[GraphRun]:
    """The two graphs, the second of which draws the kept part of what the first drew.

    The first is to run first. A network that samples (a variational autoencoder) is compared with
    itself only where both draw the same.
    """
    values = {node.name: value for node, value in found.values.items()}
    drew: dict[str, Any] = {}

    def first(node: fx.Node, value: Any) -> Any:
        drew[node.name] = value
        return value

    def second(node: fx.Node, value: Any) -> Any:
        before = drew.get(node.name)
        part = kept_part(before, values[node.name], kept) if isinstance(before, Tensor) else None
        return value if part is None or part.shape != value.shape else part

    return [replace(masked, drawn=first), replace(removed, drawn=second)]
