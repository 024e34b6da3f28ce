"""Reductions and normalised dimensions."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule, words
from secateur.structure.graph.rules.pointwise import broadcast
from secateur.structure.graph.terms import Dims, Term, fix

SUMS = ("sum", "norm", "linalg_vector_norm", "nansum", "count_nonzero", "frobenius_norm")
OTHERS = words(
    "mean amax amin max min aminmax prod var std var_mean std_mean any all logsumexp median nanmean"
)


@rule(*SUMS, *OTHERS)
def reduction(op: Op) -> Value:
    """Dimensions disappear; only a sum does not notice that zeros have gone."""
    if len(op.tensors()) > 1:  # max(a, b)
        return broadcast(op, *op.tensors())
    x = op.tensors()[0]
    used = _dims(op, len(x))
    for d in used:
        if op.name not in SUMS:
            op.inexact(x[d], op.name, mends=op.name in ("mean", "var"))
    val = op.node.meta["val"]
    if isinstance(val, list | tuple) and op.name in ("max", "min", "median"):
        op.freeze([x[d] for d in used], "positions come out")
    out = _without(op, x, used)
    return [out for _ in val] if isinstance(val, list | tuple) else out


def _dims(op: Op, rank: int) -> list[int]:
    given = op.raw("dim")
    if given is None or given == []:
        return list(range(rank))
    return sorted(d % max(rank, 1) for d in op.ints("dim"))


def _without(op: Op, x: Dims, used: list[int]) -> Dims:
    if op.raw("keepdim", False):
        none: Term = ()
        return tuple(none if d in used else t for d, t in enumerate(x))
    return tuple(t for d, t in enumerate(x) if d not in used)


@rule("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
def loss(op: Op) -> Value:
    """Element by element, then a mean (1), a sum (2) or neither (0)."""
    x, reduction = broadcast(op, op["self"], op["target"]), op.integer("reduction", 1)
    if reduction == 0:
        return x
    if reduction == 1:
        for term in x:
            op.inexact(term, "mean")
    return ()


@rule("argmax", "argmin")
def arg(op: Op) -> Value:
    """A position comes out: the dimension stays."""
    x = op["self"]
    used = _dims(op, len(x))
    op.freeze([x[d] for d in used], "positions come out")
    return _without(op, x, used)


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax", "softmin")
def softmax(op: Op) -> Value:
    """Normalised over one dimension: a removed unit is not a zero one."""
    x = op["self"]
    op.inexact(x[op.dim("dim", len(x))], "softmax")
    return x


@rule("cdist", "_cdist_forward")
def cdist(op: Op) -> Value:
    """[..., P, M], [..., R, M] -> [..., P, R]."""
    a, b = op["x1"], op["x2"]
    op.unify(a[-1], b[-1])
    return (*broadcast(op, a[:-2], b[:-2]), a[-2], b[-2])


@rule("cosine_similarity")
def cosine(op: Op) -> Value:
    """Broadcast, then one dimension is summed."""
    x = broadcast(op, op["x1"], op["x2"])
    d = op.dim("dim", len(x), 1)
    return x[:d] + x[d + 1 :]


@rule(
    "nonzero",
    "unique",
    "_unique2",
    "histc",
    "bincount",
    "one_hot",
    "masked_select",
    "item",
    "equal",
)
def data_dependent(op: Op) -> Value:
    """What comes out depends on positions or values: everything stays."""
    for dims in op.tensors():
        op.freeze(dims, "its result depends on positions")
    if op.name == "one_hot":
        return (*op["self"], fix(op.shape()[-1], "one-hot"))
    val = op.node.meta.get("val")
    if isinstance(val, list | tuple):
        return [op.fixed_shape(i) for i in range(len(val))]
    return op.fixed_shape() if hasattr(val, "shape") else None
