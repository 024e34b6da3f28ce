"""Editing the graph: tensors sliced, arguments following their dimensions, as a new module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from secateur.structure.graph.export import quiet
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Patch
from secateur.structure.graph.positions import Kept, kept_positions, kept_size
from secateur.structure.graph.preserve import keep_old_counts
from secateur.structure.graph.terms import Term
from secateur.structure.graph.terms import size as size_of


def sliced(
    found: Inference, kept: Kept, tensors: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Every tensor of the graph without the units that go; tied tensors stay one."""
    given = tensors or found.captured.tensors
    done: dict[tuple[str, ...], Tensor] = {}
    out = {}
    for name, tensor in given.items():
        key = found.captured.twins[name]
        if key not in done:
            done[key] = cut_tensor(tensor, found.terms[name], kept)
        out[name] = done[key]
    return out


def cut_tensor(tensor: Tensor, terms: tuple[Term, ...], kept: Kept) -> Tensor:
    """The kept positions of every dimension; the very same tensor where nothing goes."""
    data = tensor.detach()
    for dim, term in enumerate(terms):
        if kept_size(term, kept) != size_of(term):
            index = torch.from_numpy(np.ascontiguousarray(kept_positions(term, kept)))
            data = data.index_select(dim, index.to(data.device))
    if data.shape == tensor.shape:
        return tensor
    return nn.Parameter(data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data


def edited(
    found: Inference,
    kept: Kept | None = None,
    preserve: bool = False,
    change: Callable[[fx.Graph], None] | None = None,
) -> fx.Graph:
    """A copy of the graph with its arguments patched for `kept`.

    With `preserve`, normalisations keep dividing by the old count; `change` may edit the copy further.
    """
    graph, nodes = _copy_graph(found.captured.graph)
    if kept is not None:
        for patch in found.patches:
            apply_patch(patch, nodes[patch.node], kept)
        if preserve:
            keep_old_counts(found, nodes, kept)
    if change is not None:
        change(graph)
    return graph


def held(found: Inference, name: str, tensors: Mapping[str, Tensor]) -> Any:
    """What the graph reads under a name: a tensor, or the graph of a region."""
    return tensors[name] if name in tensors else found.captured.regions[name]


def _copy_graph(source: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    graph = fx.Graph()
    nodes: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(source, nodes, return_output_node=True)
    assert isinstance(result, tuple)
    graph.output(result[0])
    with quiet():
        graph._codegen = copy.deepcopy(source._codegen)
    return graph, nodes


def apply_patch(patch: Patch, node: fx.Node, kept: Kept) -> None:
    new = [kept_size(term, kept) for term in patch.terms]
    old = [size_of(term) for term in patch.terms]
    if patch.kind == "sections":
        if new != old:
            node.target = torch.ops.aten.split_with_sizes.default
            node.args, node.kwargs = (node.args[0], new, patch.position), {}
    elif patch.kind == "scale":
        if new != old:
            set_argument(node, patch.arg, None, old[0] ** -0.5)
    else:
        _set_size(node, patch, new[0], old[0])


def _set_size(node: fx.Node, patch: Patch, new: int, old: int) -> None:
    raw = argument(node, patch.arg)
    if patch.position is not None and isinstance(raw, list | tuple):
        raw = raw[patch.position]
    if isinstance(raw, fx.Node):
        if new == old:
            return
        with node.graph.inserting_before(node):
            scaled = node.graph.call_function(times, (raw, new, old))
        scaled.meta = {key: value for key, value in node.meta.items() if key != "val"}
        set_argument(node, patch.arg, patch.position, scaled)
    elif raw != new:
        set_argument(node, patch.arg, patch.position, new)


def times(n: int, new: int, old: int) -> int:
    """A symbolic size with one factor changed."""
    return n * new // old


def _index(node: fx.Node, name: str) -> int:
    return [a.name for a in node.target._schema.arguments].index(name)  # type: ignore[union-attr]


def argument(node: fx.Node, name: str) -> Any:
    """An argument of an operator node by its schema name."""
    at = _index(node, name)
    return node.args[at] if at < len(node.args) else node.kwargs.get(name)


def set_argument(node: fx.Node, name: str, position: int | None, value: Any) -> None:
    """Write an argument (or one entry of a list argument) of an operator node."""
    at = _index(node, name)
    current = argument(node, name)
    if position is not None and isinstance(current, list | tuple):
        value = [value if i == position else v for i, v in enumerate(current)]
    if at < len(node.args):
        node.update_arg(at, value)
    else:
        node.update_kwarg(name, value)
