"""Normalisations that keep dividing by the old count, so that what has gone still counts as zeros.

    mean = sum(x) / n_old,    var = sum(x^2) / n_old - mean^2

With these, removing units of a normalised dimension gives exactly what zeroing them gives.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Op, base_name
from secateur.structure.graph.positions import Kept, kept_size
from secateur.structure.graph.terms import size


def moments(x: Tensor, dims: list[int], count: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of x over `dims` as if there were `count` elements, the missing ones zero."""
    mean = x.sum(dims, keepdim=True) / count
    return mean, (x * x).sum(dims, keepdim=True) / count - mean * mean


def layer_norm(
    x: Tensor, k: int, w: Tensor | None, b: Tensor | None, eps: float, count: int
) -> Tensor:
    """Layer norm over the last k dimensions, of `count` elements once."""
    mean, var = moments(x, list(range(-k, 0)), count)
    out = (x - mean) * torch.rsqrt(var + eps)
    out = out if w is None else out * w
    return out if b is None else out + b


def rms_norm(x: Tensor, k: int, w: Tensor | None, eps: float | None, count: int) -> Tensor:
    """RMS norm over the last k dimensions, of `count` elements once."""
    square = (x * x).sum(list(range(-k, 0)), keepdim=True) / count
    out = x * torch.rsqrt(square + (torch.finfo(x.dtype).eps if eps is None else eps))
    return out if w is None else out * w


def group_norm(
    x: Tensor, g: int, w: Tensor | None, b: Tensor | None, eps: float, count: int
) -> Tensor:
    """Group norm whose groups had `count` elements once."""
    grouped = x.reshape(x.shape[0], g, -1)
    mean, var = moments(grouped, [2], count)
    out = ((grouped - mean) * torch.rsqrt(var + eps)).reshape(x.shape)
    wide = (1, -1) + (1,) * (x.dim() - 2)
    out = out if w is None else out * w.view(wide)
    return out if b is None else out + b.view(wide)


def batch_norm(x: Tensor, w: Tensor | None, b: Tensor | None, eps: float, count: int) -> Tensor:
    """Batch norm with batch statistics over `count` elements for each channel."""
    mean, var = moments(x, [d for d in range(x.dim()) if d != 1], count)
    wide = (1, -1) + (1,) * (x.dim() - 2)
    out = (x - mean) * torch.rsqrt(var + eps)
    out = out if w is None else out * w.view(wide)
    return out if b is None else out + b.view(wide)


def variance(x: Tensor, dims: list[int], keepdim: bool, correction: float, count: int) -> Tensor:
    """Variance over `dims` of `count` elements once."""
    _, var = moments(x, dims, count)
    var = var * (count / (count - correction))
    return var if keepdim else var.squeeze(dims)


def keep_old_counts(found: Inference, nodes: dict[fx.Node, fx.Node], kept: Kept) -> None:
    """Rewrite every average over a dimension that loses units, in the copied graph."""
    for source, node in nodes.items():
        if source.op == "call_function" and base_name(source) in REWRITES:
            op = Op(source, found.values, found.solver)
            REWRITES[base_name(source)](op, node, kept)


def counted(op: Op, kept: Kept) -> tuple[int, int]:
    """(old, new) number of elements that an operator of `REWRITES` averages over.

    Of norms over groups or the batch it is that of the whole input.
    """
    x = op.tensors()[0]
    if op.name in ("mean", "var"):
        x = tuple(x[d] for d in op.dims("dim", len(x)))
    elif op.name in ("layer_norm", "rms_norm"):
        x = op["input"][-len(op.ints("normalized_shape")) :]
    return _counts(x, kept)


def _counts(terms: Any, kept: Kept) -> tuple[int, int]:
    """(old, new) number of elements."""
    return prod(map(size, terms)), prod(kept_size(t, kept) for t in terms)


def _replace(node: fx.Node, function: Any, args: tuple[Any, ...]) -> None:
    node.target, node.args, node.kwargs = function, args, {}


def _mapped(op: Op, node: fx.Node, *names: str) -> list[Any]:
    """Arguments of the copied node by the schema's names."""
    from secateur.structure.graph.edit import argument

    return [argument(node, name) for name in names]


def _mean(op: Op, node: fx.Node, kept: Kept) -> None:
    x = op.tensors()[0]
    old, new = _counts([x[d] for d in op.dims("dim", len(x))], kept)
    if old != new:
        with node.graph.inserting_after(node):
            scaled = node.graph.call_function(torch.ops.aten.mul.Tensor, (node, new / old))
        node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


def _layer_norm(op: Op, node: fx.Node, kept: Kept) -> None:
    k = len(op.ints("normalized_shape"))
    old, new = _counts(op["input"][-k:], kept)
    if old == new:
        return None
    x, w = _mapped(op, node, "input", "weight")
    if op.name == "rms_norm":
        return _replace(node, rms_norm, (x, k, w, op.raw("eps"), old))
    return _replace(node, layer_norm, (x, k, w, _mapped(op, node, "bias")[0], op.raw("eps"), old))


def _group_norm(op: Op, node: fx.Node, kept: Kept) -> None:
    """The copy has its new number of groups already; the source has the old one."""
    old, new = _counts(op["input"][1:], kept)
    x, groups, *vectors = _mapped(op, node, "input", "num_groups", "weight", "bias")
    count = old // op.integer("num_groups")
    if count != new // groups:
        _replace(node, group_norm, (x, groups, *vectors, op.raw("eps"), count))


def _batch_norm(op: Op, node: fx.Node, kept: Kept) -> None:
    x = op["input"]
    old, new = _counts((x[0], *x[2:]), kept)
    if op.raw("training", False) and old != new:
        inputs = _mapped(op, node, "input", "weight", "bias")
        _replace(node, batch_norm, (*inputs, op.raw("eps"), old))


def _var(op: Op, node: fx.Node, kept: Kept) -> None:
    x = op.tensors()[0]
    dims = op.dims("dim", len(x))
    old, new = _counts([x[d] for d in dims], kept)
    if old != new:
        correction = op.raw("correction", 1)
        _replace(node, variance, (node.args[0], dims, op.raw("keepdim", False), correction, old))


REWRITES = {
    "mean": _mean,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    "var": _var,
}
