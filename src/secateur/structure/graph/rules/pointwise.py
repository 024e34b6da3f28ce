"""Element-wise operators: dimensions are aligned from the right and tied; size 1 broadcasts."""

from __future__ import annotations

import torch

from secateur.structure.graph.op import Op, Value, rule, words
from secateur.structure.graph.terms import Dims, Term, size

SAME = words(
    "to _to_copy contiguous clone alias detach dropout native_dropout alpha_dropout feature_dropout "
    "fill zeros_like ones_like empty_like full_like rand_like randn_like lift_fresh_copy lift type_as "
    "zero requires_grad bernoulli random normal uniform exponential _conj _neg_view resolve_conj "
    "resolve_neg float_power celu elu selu glu_ rrelu prelu_ nan_to_num hardshrink softshrink "
    "threshold to_dense data float double half bfloat16 cpu _autocast_to_full_precision "
    "_autocast_to_reduced_precision"
)

UNTAGGED = words(
    "hardswish hardsigmoid floor_divide remainder fmod rsub softplus log_sigmoid logaddexp heaviside"
)


def broadcast(op: Op, *shapes: Dims) -> Dims:
    """The terms of a broadcast result; dimensions larger than 1 are tied."""
    rank = max((len(dims) for dims in shapes), default=0)
    return tuple(_one(op, [dims[i] for dims in shapes if -len(dims) <= i]) for i in range(-rank, 0))


def _one(op: Op, terms: list[Term]) -> Term:
    wide = [t for t in terms if size(t) != 1]
    for other in wide[1:]:
        op.unify(wide[0], other)
    return wide[0] if wide else ()


@rule(
    "pointwise",
    *UNTAGGED,
    "__and__",
    "__or__",
    "__xor__",
    "masked_fill",
    "copy",
    "lerp",
    "addcmul",
    "addcdiv",
    "_assert_async",
)
def pointwise(op: Op) -> Value:
    """Any element-wise operator of any number of tensors."""
    out = broadcast(op, *op.tensors())
    if op.name == "add" and sum(n.op != "get_attr" for n in op.node.all_input_nodes) > 1:
        op.sums += out
    return out


@rule("fake_quantize_per_tensor_affine", "fake_quantize_per_channel_affine")
def fake_quantize(op: Op) -> Value:
    """Rounded element by element, with one scale or one for each position of a dimension."""
    x = op["self"]
    for name in ("scale", "zero_point"):
        vector = op.get(name)
        if vector and size(vector[0]) > 1:
            op.unify(x[op.dim("axis", len(x))], vector[0])
    return x


@rule("where")
def where(op: Op) -> Value:
    """A choice element by element; given a condition alone, the positions at which it holds."""
    if op.raw("self") is not None or op.raw("other") is not None:
        return pointwise(op)
    op.freeze(op["condition"], "positions come out")
    return [op.fixed_shape(i) for i in range(len(op.node.meta["val"]))]


@rule(*SAME)
def same(op: Op) -> Value:
    """One tensor in, the same dimensions out (twice, for operators that also return a mask)."""
    dims = op.tensors()[0]
    val = op.node.meta["val"]
    return [dims for _ in val] if isinstance(val, list | tuple) else dims


@rule("prelu")
def prelu(op: Op) -> Value:
    """x [N, C, ...] and one slope, or C of them."""
    x, weight = op["self"], op["weight"]
    if len(x) > 1 and weight and size(weight[0]) > 1:
        op.unify(x[1], weight[0])
    return x


@rule("glu")
def glu(op: Op) -> Value:
    """First half times the gate of the second: the halves are tied."""
    x = list(op["self"])
    d = op.dim("dim", len(x), -1)
    first, second = op.cut(x[d], size(x[d]) // 2)
    x[d] = op.unify(first, second)
    return tuple(x)


@rule("meshgrid", "broadcast_tensors")
def several(op: Op) -> Value:
    """Grids of positions are fixed; broadcast tensors share all dimensions."""
    if op.name == "meshgrid":
        for dims in op.tensors():
            op.freeze(dims, "grid of positions")
        return [op.fixed_shape(i) for i in range(len(op.node.meta["val"]))]
    shared = broadcast(op, *op.tensors())
    return [shared for _ in op.node.meta["val"]]


def is_pointwise(target: object) -> bool:
    """Whether torch itself calls the operator element-wise."""
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags
