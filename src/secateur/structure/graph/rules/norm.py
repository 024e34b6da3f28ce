"""Normalisations; those that average over a dimension make its removal inexact."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule
from secateur.structure.graph.terms import Dims, Term, size


def tie_vectors(op: Op, term: Term, *names: str) -> None:
    """Tie the length of vector arguments to a dimension."""
    for name in names:
        vector = op.get(name)
        if vector:
            op.unify(vector[0], term)


@rule(
    "batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)
def batch_norm(op: Op) -> Value:
    """x [N, C, ...]; with batch statistics the other dimensions are averaged over."""
    x = op["input"]
    tie_vectors(op, x[1], "weight", "bias", "running_mean", "running_var")
    if op.raw("training", False):
        for term in (x[0], *x[2:]):
            op.inexact(term, "batch statistics", mends=True)
    return _results(op, x, x[1])


@rule("instance_norm")
def instance_norm(op: Op) -> Value:
    """x [N, C, ...], statistics over the positions of each channel."""
    x = op["input"]
    tie_vectors(op, x[1], "weight", "bias", "running_mean", "running_var")
    for term in x[2:]:
        op.inexact(term, "instance statistics")
    return x


@rule("layer_norm", "rms_norm", "native_layer_norm", "_fused_rms_norm")
def layer_norm(op: Op) -> Value:
    """The last k dimensions are normalised together."""
    x, k = op["input"], len(op.ints("normalized_shape"))
    for i, term in enumerate(x[-k:]):
        op.inexact(term, op.name.removeprefix("native_"), mends=True)
        op.patch("normalized_shape", i, term)
    for name in ("weight", "bias"):
        for given, term in zip(op.get(name) or (), x[-k:], strict=False):
            op.unify(given, term)
    return _results(op, x, ())


@rule("group_norm", "native_group_norm")
def group_norm(op: Op) -> Value:
    """Channels are groups x c; whole groups go exactly, parts of a group do not."""
    x = op["input"]
    g = op.integer("num_groups" if op.name == "group_norm" else "group")
    groups, within = op.fresh(g), op.fresh(size(x[1]) // g)
    op.unify(x[1], groups + within)
    for term in (within, *x[2:]):
        op.inexact(term, "group_norm", mends=True)
    op.patch("num_groups" if op.name == "group_norm" else "group", None, groups)
    tie_vectors(op, x[1], "weight", "bias")
    return _results(op, x, ())


def _results(op: Op, x: Dims, stats: Term) -> Value:
    """x alone, or x with the statistics an operator returns beside it."""
    val = op.node.meta["val"]
    if not isinstance(val, list | tuple):
        return x
    rest: list[Dims] = []
    for i in range(1, len(val)):
        shape = op.shape(i)
        rest.append((stats,) if stats and shape == (size(stats),) else op.fixed_shape(i))
    return [x, *rest]


@rule("_weight_norm", "_weight_norm_interface")
def weight_norm(op: Op) -> Value:
    """weight = g v / |v|: rows follow g, the norm sums squares over the other dimensions."""
    v, g = op["v"], op["g"]
    for a, b in zip(v, g, strict=True):
        if size(b) > 1:
            op.unify(a, b)
    return v if op.name == "_weight_norm" else [v, g]


@rule("local_response_norm")
def local_response_norm(op: Op) -> Value:
    """Neighbouring channels are normalised together: they stay."""
    x = op["input"]
    op.freeze(x[1], "neighbouring channels")
    return x
