"""Normal form of a captured graph: regions inlined, squeezes named, no view that hangs on a memory layout."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

REGIONS = {"wrap_with_autocast": 4, "wrap_with_set_grad_enabled": 1}  # position of the inner graph


def normalise(module: fx.GraphModule) -> None:
    """Inline autocast and no_grad regions, let every squeeze name its dimensions and every view be a reshape.

    A `contiguous` that did nothing at the example is not in the graph; on other sizes or another kernel's
    output the `view` after it would fail.
    """
    while region := _next_region(module):
        _inline(module, region)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and str(node.target).startswith("aten.squeeze"):
            _name_squeezed(node)
        elif node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
    module.graph.lint()
    module.recompile()


def _next_region(module: fx.GraphModule) -> fx.Node | None:
    for node in module.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "__name__", "") in REGIONS:
            return node
    return None


def _inline(module: fx.GraphModule, region: fx.Node) -> None:
    at = REGIONS[region.target.__name__]  # type: ignore[union-attr]
    holder = region.args[at]
    assert isinstance(holder, fx.Node)
    inner = module.get_submodule(str(holder.target))
    assert isinstance(inner, fx.GraphModule)
    env: dict[fx.Node, Any] = {}
    inputs = iter(region.args[at + 1 :])
    with module.graph.inserting_before(region):
        leave = _enter(module.graph, region, at)
        for node in inner.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(inputs)
            elif node.op == "output":
                results = fx.map_arg(node.args[0], lambda n: env[n])
            else:
                env[node] = _copy(module, inner, node, env)
        leave()
    _replace_results(region, results)
    module.graph.erase_node(region)
    if not holder.users:
        module.graph.erase_node(holder)


def _enter(graph: fx.Graph, region: fx.Node, at: int) -> Any:
    """Nodes that keep what the region meant; returns what adds the closing node."""
    if at == 1:
        _call(graph, region, torch._C._set_grad_enabled, (region.args[0],))
        return lambda: _call(graph, region, torch._C._set_grad_enabled, (not region.args[0],))
    if region.args[2] is False:
        return lambda: None  # autocast switched off changes nothing outside an autocast
    mode = _call(graph, region, torch.amp.autocast_mode._enter_autocast, region.args[:4])
    return lambda: _call(graph, region, torch.amp.autocast_mode._exit_autocast, (mode,))


def _call(graph: fx.Graph, region: fx.Node, function: Any, args: tuple[Any, ...]) -> fx.Node:
    """A call that belongs to the same module as the region."""
    node = graph.call_function(function, args)
    node.meta = {k: v for k, v in region.meta.items() if k != "val"}
    return node


def _copy(
    module: fx.GraphModule, inner: fx.GraphModule, node: fx.Node, env: dict[fx.Node, Any]
) -> fx.Node:
    new = module.graph.node_copy(node, lambda n: env[n])
    if node.op == "get_attr":  # a region inside the region
        name = f"_inlined_{node.target}_{len(list(module.children()))}"
        setattr(module, name, operator.attrgetter(str(node.target))(inner))
        new.target = name
    return new


def _replace_results(region: fx.Node, results: Any) -> None:
    for user in list(region.users):
        if user.target is operator.getitem:
            user.replace_all_uses_with(results[user.args[1]])
            user.graph.erase_node(user)
        else:
            region.replace_all_uses_with(results)
            return


def _name_squeezed(node: fx.Node) -> None:
    """After removal a dimension may have size 1 that had more: only those of size 1 now are squeezed."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    shape = source.meta["val"].shape
    given = node.args[1] if len(node.args) > 1 else list(range(len(shape)))
    listed = given if isinstance(given, list | tuple) else [given]
    ones = [d % len(shape) for d in listed if len(shape) and _is_one(shape[d])]  # type: ignore[operator]
    node.target = torch.ops.aten.squeeze.dims
    node.args = (source, ones)
    node.kwargs = {}


def _is_one(n: Any) -> bool:
    return isinstance(n, int) and n == 1
