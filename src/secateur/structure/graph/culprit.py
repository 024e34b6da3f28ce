"""Where two networks that should compute the same part: the first operator, the first module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from secateur.structure.graph.capture import as_traced
from secateur.structure.graph.graph_run import GraphRun
from secateur.structure.graph.infer import Inference, layer_of
from secateur.structure.graph.op import base_name
from secateur.structure.graph.positions import Kept, kept_positions, kept_size
from secateur.structure.graph.terms import size


def first_operator(
    found: Inference,
    kept: Kept,
    masked: GraphRun,
    removed: GraphRun,
    inputs: Sequence[Any],
    tolerance: float,
) -> str:
    """The first value in which the smaller graph is not the kept part of the masked one.

    Args:
        inputs: the example's leaves, in order.
    """
    runs = [graph.record(inputs) for graph in (masked, removed)]
    for node in found.captured.graph.nodes:
        if node.op == "call_function" and all(node.name in run for run in runs):
            want = kept_part(runs[0][node.name], found.values[node], kept)
            if want is not None and apart(want, runs[1][node.name], tolerance):
                return f"operator {base_name(node)} in layer '{layer_of(node)}' ({node.name})"
    return "the outputs alone"


def kept_part(value: Tensor, terms: Any, kept: Kept) -> Tensor | None:
    """The units that stay of a value of the masked graph."""
    if not isinstance(terms, tuple) or len(terms) != value.dim():
        return None
    for dim, term in enumerate(terms):
        if kept_size(term, kept) != size(term):
            index = torch.from_numpy(kept_positions(term, kept).copy())
            value = value.index_select(dim, index.to(value.device))
    return value


def apart(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ, relative to the largest of the first."""
    if a.shape != b.shape:
        return True
    scale = max(float(a.abs().max()) if a.numel() else 0.0, 1e-6)
    return not float((a - b).abs().max() if a.numel() else 0.0) <= tolerance * scale


def first_module(
    a: nn.Module,
    b: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    names: Mapping[str, str | None] | None = None,
    tolerance: float = 1e-4,
) -> str:
    """The first module, in the order they end, whose output in `b` is not that in `a`.

    Args:
        names: module of `a` -> the module of `b` it is compared with, None where that is gone; those of
            the same path otherwise.
    """
    seen = [_outputs(model, args, kwargs) for model in (a, b)]
    for name, want in seen[0].items():
        twin = (names or {}).get(name, name)
        got = seen[1].get(twin) if twin is not None else None
        if got is not None and apart(want, got, tolerance):
            return f"'{name}' ({type(a.get_submodule(name)).__name__})"
    return "the outputs alone"


def _outputs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The first floating output of every module, in the order they end."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            for value in _floats(output):
                seen.setdefault(name, value.detach().clone())
                break

        return hook

    with ExitStack() as stack, torch.no_grad(), as_traced(model):
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(keep(name)).remove)
        model(*args, **kwargs)
    return seen


def _floats(value: Any) -> Iterator[Tensor]:
    leaves = pytree.tree_leaves(value)
    return (t for t in leaves if isinstance(t, Tensor) and t.is_floating_point())
