"""The operators of a traced network, and the sizes they have when only some units stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..measure.kernel import Kernel, Spec
from ..structure.graph.axes import macs_of
from ..structure.graph.infer import Inference, layer_of
from ..structure.graph.op import Cost, Patch, hint, shape_of
from ..structure.graph.positions import Kept, kept_size
from ..structure.graph.terms import Var, free, size

Counts = Mapping[Var, int]
"""Axis -> how many of its units stay; an axis not named keeps all."""


@dataclass(frozen=True)
class Call:
    """One operator of the graph.

    Attributes:
        layer: the submodule it was traced in.
        axes: those its sizes depend on.
    """

    node: fx.Node
    layer: str
    axes: tuple[Var, ...]
    found: Inference
    patches: tuple[Patch, ...]
    costs: tuple[Cost, ...]

    def kernel(self, counts: Counts) -> Kernel:
        """The operator on tensors of the sizes that are left."""
        kept = _ranges(counts)
        args = [self._argument(a, kept) for a in self.node.args]
        kwargs = {name: self._argument(a, kept) for name, a in self.node.kwargs.items()}
        names = [a.name for a in self.node.target._schema.arguments]  # type: ignore[union-attr]
        for patch in self.patches:
            at = names.index(patch.arg)
            if at < len(args):
                args[at] = _followed(args[at], patch, kept)
            else:
                kwargs[patch.arg] = _followed(kwargs.get(patch.arg), patch, kept)
        return Kernel(str(self.node.target), tuple(args), tuple(kwargs.items()))

    def work(self, counts: Counts) -> int:
        """Multiplications, or of an operator without any the elements it reads and writes."""
        kept = _ranges(counts)
        if self.costs:
            return macs_of(list(self.costs), kept)
        nodes = [*self.node.all_input_nodes, self.node]
        return sum(_elements(self.found.values.get(node), kept) for node in nodes)

    def _argument(self, value: Any, kept: Kept) -> Any:
        if isinstance(value, list | tuple):
            return tuple(self._argument(v, kept) for v in value)
        if not isinstance(value, fx.Node):
            return hint(value) if isinstance(value, torch.SymInt) else value
        val = value.meta.get("val")
        if isinstance(val, Tensor):
            return _spec(val, self.found.values.get(value), kept)
        if isinstance(val, list | tuple):
            dims = self.found.values.get(value) or [None] * len(val)
            return tuple(_spec(v, d, kept) for v, d in zip(val, dims, strict=True))
        return hint(val)


def calls_of(found: Inference) -> list[Call]:
    """Every operator that makes tensors, in the order of the graph; pure splitting is free."""
    patches: dict[fx.Node, list[Patch]] = defaultdict(list)
    costs: dict[fx.Node, list[Cost]] = defaultdict(list)
    for patch in found.patches:
        patches[patch.node].append(patch)
    for cost in found.costs:
        costs[cost.node].append(cost)
    return [
        Call(
            node,
            layer_of(node),
            _axes(found, node),
            found,
            tuple(patches[node]),
            tuple(costs[node]),
        )
        for node in found.captured.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and _makes_tensors(node)
        if not any(patch.kind == "sections" for patch in patches[node])
    ]


def _makes_tensors(node: fx.Node) -> bool:
    val = node.meta.get("val")
    return any(isinstance(v, Tensor) for v in (val if isinstance(val, list | tuple) else [val]))


def _axes(found: Inference, node: fx.Node) -> tuple[Var, ...]:
    """The axes of everything that goes in and comes out."""
    held = [found.values.get(n) for n in (*node.all_input_nodes, node)]
    return tuple(dict.fromkeys(v for value in held for term in _terms(value) for v in free(term)))


def _terms(value: Any) -> Sequence[Any]:
    if isinstance(value, list):
        return [term for part in value for term in _terms(part)]
    return value or ()


def _elements(value: Any, kept: Kept) -> int:
    if isinstance(value, list):
        return sum(_elements(part, kept) for part in value)
    return prod([kept_size(term, kept) for term in value]) if value else 0


def _ranges(counts: Counts) -> Kept:
    """The first so many units of every axis: sizes do not depend on which."""
    return {axis: np.arange(n) for axis, n in counts.items()}


def _spec(tensor: Tensor, dims: Any, kept: Kept) -> Spec:
    shape = shape_of(tensor) if dims is None else tuple(kept_size(term, kept) for term in dims)
    strides = [hint(s) for s in tensor.stride()]
    order = tuple(sorted(range(len(shape)), key=lambda d: (-strides[d], d)))
    repeated = tuple(d for d, s in enumerate(strides) if s == 0 and shape[d] > 1)
    return Spec(shape, str(tensor.dtype).removeprefix("torch."), order, repeated)


def _followed(value: Any, patch: Patch, kept: Kept) -> Any:
    """An argument of sizes as it is when its dimension is as `kept` says."""
    if patch.kind == "scale":
        return value  # a factor, which takes no time
    if patch.position is None or not isinstance(value, tuple):
        return _sized(value, patch, kept)
    entry = _sized(value[patch.position], patch, kept)
    return (*value[: patch.position], entry, *value[patch.position + 1 :])


def _sized(value: Any, patch: Patch, kept: Kept) -> int:
    """A size may have a free batch as a factor: only its own share changes."""
    term = patch.terms[0]
    new = kept_size(term, kept)
    return int(value) * new // size(term) if isinstance(value, int) and value > 0 else new
