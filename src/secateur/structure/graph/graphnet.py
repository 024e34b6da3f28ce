"""Level D: the edited graph itself as a module that trains, saves and loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from secateur.structure.graph.edit import argument, set_argument
from secateur.structure.graph.op import base_name

DROPOUTS = {"dropout": "train", "alpha_dropout": "train", "feature_dropout": "train"}


class GraphNet(fx.GraphModule):
    """A captured network; `train` and `eval` switch its dropouts and batch norms.

    Parameters keep the names they had in the module it was captured from.
    """

    def train(self, mode: bool = True) -> GraphNet:
        """Switch every dropout and every batch norm with running statistics."""
        super().train(mode)
        if not hasattr(self, "_graph"):
            return self  # called while the module is being built
        switch_training(self.graph, mode)
        self.recompile()
        return self


def switch_training(graph: fx.Graph, mode: bool) -> None:
    """Tell every dropout and batch norm of a graph whether it trains."""
    for node in graph.nodes:
        switch = _switch(node)
        if switch is not None:
            set_argument(node, switch, None, mode)


def _switch(node: fx.Node) -> str | None:
    """The name of the argument that says training, for operators that behave otherwise then."""
    if node.op != "call_function" or not hasattr(node.target, "_schema"):
        return None
    name = base_name(node)
    if name == "batch_norm":
        return "training" if isinstance(argument(node, "running_mean"), fx.Node) else None
    return DROPOUTS.get(name)


def as_module(graph: fx.Graph, read: Callable[[str], Any]) -> GraphNet:
    """A `GraphNet` over a graph, `read` giving what goes by each name in it."""
    root = {
        str(node.target): read(str(node.target)) for node in graph.nodes if node.op == "get_attr"
    }
    net = GraphNet(root, graph)
    net.eval()
    return net
