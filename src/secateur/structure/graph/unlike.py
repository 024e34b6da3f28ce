"""The module at which a delivered network stops computing what the edited graph computes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from secateur.core.instead import call_with
from secateur.structure.graph.culprit import apart
from secateur.structure.graph.equations import owners_of
from secateur.structure.graph.export import EXPORT_FAILURES, as_traced
from secateur.structure.graph.graph_run import GraphRun

TOLERANCE = 1e-4


def unlike(
    module: nn.Module,
    graph: GraphRun,
    values: Mapping[str, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str | None:
    """The first module that raises, or whose output is no value of its part of the graph; None: all agree.

    Args:
        module: the delivered network; graph: the edited graph of the same.
        values: what the graph holds, put into the network for this comparison.
        args, kwargs: the example.
    """
    names = {name for name, _ in [*module.named_parameters(), *module.named_buffers()]}
    swapped = {name: value for name, value in values.items() if name in names}
    wanted = _by_module(graph, args, kwargs)
    running: list[str] = []
    parted: list[str] = []

    def leave(name: str, output: Any) -> None:
        running.pop()
        tensor = next(_floats(output), None)
        if tensor is None or name not in wanted:
            return
        if all(apart(value, tensor, TOLERANCE) for value in wanted[name]):
            parted.append(name)

    with ExitStack() as stack, torch.no_grad(), as_traced(module):
        for name, part in module.named_modules():
            enter = part.register_forward_pre_hook(lambda *_, name=name: running.append(name))
            left = part.register_forward_hook(lambda _m, _a, out, name=name: leave(name, out))
            stack.callback(enter.remove)
            stack.callback(left.remove)
        try:
            call_with(module, swapped, args, kwargs)
        except EXPORT_FAILURES:
            parted += running[-1:]
    return parted[0] if parted else None


def _by_module(
    graph: GraphRun, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, list[Tensor]]:
    """Module -> the tensors that were computed in it."""
    seen = graph.record(pytree.tree_leaves((tuple(args), dict(kwargs))))
    out: dict[str, list[Tensor]] = defaultdict(list)
    for node in graph.graph.nodes:
        if node.name in seen and node.op == "call_function":
            for name in owners_of(node):
                out[name].append(seen[node.name])
    return out


def _floats(value: Any) -> Iterator[Tensor]:
    leaves = pytree.tree_leaves(value)
    return (t for t in leaves if isinstance(t, Tensor) and t.is_floating_point())
