"""Pooling, resampling and padding: channels pass, positions are fixed."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule, words
from secateur.structure.graph.terms import Dims, Term, concat, fix, size

POOLS = [
    f"{kind}{d}d{tail}"
    for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "lp_pool")
    for d in (1, 2, 3)
    for tail in ("", "_with_indices")
]
RESAMPLE = [
    f"{kind}{d}d{tail}"
    for kind in ("upsample_nearest", "_upsample_nearest_exact", "upsample_nearest_exact")
    for d in (1, 2, 3)
    for tail in ("", "_vec")
]
MORE = words(
    "upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa _adaptive_avg_pool2d _adaptive_avg_pool3d "
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
    "replication_pad3d"
)


@rule(*POOLS, *RESAMPLE, *MORE)
def window(op: Op) -> Value:
    """The last d dimensions are positions; all before them pass."""
    x = op.tensors()[0]
    d = next(int(c) for c in op.name if c.isdigit())
    op.freeze(list(x[-d:]), "positions")
    val = op.node.meta["val"]
    if isinstance(val, list | tuple):
        return [(*x[:-d], *op.fixed_shape(i)[-d:]) for i in range(len(val))]
    return (*x[:-d], *op.fixed_shape()[-d:])


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(op: Op) -> Value:
    """x [N, C, ...] read at a grid [N, ..., d] of positions."""
    x, grid = op["input"], op["grid"]
    op.freeze([*x[2:], *grid[1:]], "positions")
    return (*x[:2], *op.fixed_shape()[2:])


@rule("constant_pad_nd", "pad")
def pad(op: Op) -> Value:
    """Fixed positions before and after; negative padding cuts."""
    x, amounts = list(op["self"]), op.ints("pad")
    if str(op.raw("mode", "constant")) != "constant":
        return _pad_by_copy(op, x)
    for i in range(len(amounts) // 2):
        before, after = amounts[2 * i], amounts[2 * i + 1]
        x[-1 - i] = _pad_one(op, x[-1 - i], before, after, 2 * i)
    return tuple(x)


def _pad_by_copy(op: Op, x: list[Term]) -> Dims:
    changed = [size(t) != n for t, n in zip(x, op.shape(), strict=True)]
    op.freeze([t for t, c in zip(x, changed, strict=True) if c], "positions")
    return tuple(
        fix(n, "positions") if c else t for t, c, n in zip(x, changed, op.shape(), strict=True)
    )


def _pad_one(op: Op, term: Term, before: int, after: int, at: int) -> Term:
    """The padded dimension; what negative padding takes away follows the term."""
    for amount, position in ((before, at), (after, at + 1)):
        if amount < 0:
            front = position == at
            first, second = op.cut(term, -amount if front else size(term) + amount)
            gone, term = (first, second) if front else (second, first)
            op.freeze(gone, "cut by padding")
    parts: list[Term] = [term]
    if before > 0:
        parts.insert(0, fix(before, "padding"))
    if after > 0:
        parts.append(fix(after, "padding"))
    return concat([op.solver.resolve(p) for p in parts])
