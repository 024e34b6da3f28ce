"""A graph run over tensors that are made when they are read, and let go after their last use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from secateur.structure.graph.export import drawing_alike

Drawn: TypeAlias = "Callable[[fx.Node, Any], Any]"


def is_random(node: fx.Node) -> bool:
    """Whether an operator draws numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


class _Interpreter(fx.Interpreter):
    """Asks for a tensor at the first node that takes it, wherever the graph names it."""

    def __init__(
        self, graph: fx.Graph, read: Callable[[str], Any], keeps: bool, drawn: Drawn | None
    ) -> None:
        super().__init__(nn.Module(), garbage_collect_values=not keeps, graph=graph)
        self.read, self.drawn = read, drawn
        self.seen: dict[str, Tensor] | None = {} if keeps else None
        self._unread: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node; of a tensor that is held, the promise of it."""
        if n.op == "get_attr":
            self._unread.add(n)
            return None
        value = super().run_node(n)
        if self.drawn is not None and is_random(n):
            value = self.drawn(n, value)
        if self.seen is not None and isinstance(value, Tensor) and value.is_floating_point():
            self.seen[n.name] = value
        return value

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """The arguments of a node, tensors that are held read by now."""
        for source in n.all_input_nodes:
            if source in self._unread:
                self._unread.remove(source)
                self.env[source] = self.read(str(source.target))
        return super().fetch_args_kwargs_from_env(n)


@dataclass(frozen=True)
class GraphRun:
    """A graph, and what its tensors are.

    Attributes:
        graph: a captured one, edited or not.
        read: name -> the tensor (or the graph of a region) that goes by it.
        drawn: what a random operator gives, from its node and what it drew.
    """

    graph: fx.Graph
    read: Callable[[str], Any]
    drawn: Drawn | None = None

    def outputs(self, leaves: Sequence[Any]) -> Any:
        """The leaves of the output, in order, for those of an example."""
        return self._run(leaves, keeps=False)[0]

    def record(self, leaves: Sequence[Any]) -> dict[str, Tensor]:
        """The floating-point tensor of every operator, by the name of its node."""
        return self._run(leaves, keeps=True)[1] or {}

    def _run(self, leaves: Sequence[Any], keeps: bool) -> tuple[Any, dict[str, Tensor] | None]:
        runner = _Interpreter(self.graph, self.read, keeps, self.drawn)
        place = next((t.device for t in leaves if isinstance(t, Tensor)), torch.device("cpu"))
        with torch.no_grad(), drawing_alike(place):
            return runner.run(*leaves, enable_io_processing=False), runner.seen
