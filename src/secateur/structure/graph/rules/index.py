"""Look-ups by position: the indexed dimension stays, everything else passes."""

from __future__ import annotations

import torch
from torch import fx

from secateur.structure.graph.op import Op, Value, rule, words
from secateur.structure.graph.rules.pointwise import broadcast
from secateur.structure.graph.terms import Dims, size

BY_POSITION = "read by position"


@rule("embedding")
def embedding(op: Op) -> Value:
    """weight [entries, width] read at indices."""
    weight, indices = op["weight"], op["indices"]
    op.freeze(weight[0], BY_POSITION)
    return indices + weight[1:]


@rule("embedding_bag", "_embedding_bag")
def embedding_bag(op: Op) -> Value:
    """Rows of weight [entries, width] put together bag by bag: [bags, width], and three results of counts."""
    weight = op["weight"]
    op.freeze(weight[0], BY_POSITION)
    rest = [op.fixed_shape(i) for i in range(1, 4)]
    return [(*op.fixed_shape(0)[:-1], weight[1]), *rest]


@rule("index", "_unsafe_index")
def index(op: Op) -> Value:
    """self[i, :, j, ...] with tensors of positions; masks freeze all they touch."""
    x, listed = op["self"], list(op.raw("indices"))
    return _indexed(op, x, listed)


def _indexed(op: Op, x: Dims, listed: list[fx.Node | None]) -> Dims:
    at = [i for i, node in enumerate(listed) if node is not None]
    nodes = [node for node in listed if node is not None]
    if any(_boolean(node) for node in nodes):
        return _masked(op, x, listed)
    op.freeze([x[i] for i in at], BY_POSITION)
    picked = broadcast(op, *(d for d in map(op.of, nodes) if d is not None))
    rest = [t for i, t in enumerate(x) if i not in at]
    adjacent = at == list(range(at[0], at[-1] + 1))
    lead = at[0] if adjacent else 0
    return (*rest[:lead], *picked, *rest[lead:])


def _boolean(node: fx.Node) -> bool:
    val = node.meta.get("val")
    return isinstance(val, torch.Tensor) and val.dtype in (torch.bool, torch.uint8)


def _masked(op: Op, x: Dims, listed: list[fx.Node | None]) -> Dims:
    """With a mask among the indices, only dimensions after all of them pass."""
    used = sum(len(op.of(n) or ()) if n is not None and _boolean(n) else 1 for n in listed)
    op.freeze(list(x[:used]), BY_POSITION)
    for node in listed:
        op.freeze(op.of(node) or (), BY_POSITION)
    tail = x[used:]
    lead = len(op.shape()) - len(tail) if op.name != "index_put" else 0
    return (*op.fixed_shape()[:lead], *tail)


@rule("index_put", "_index_put_impl", "_unsafe_index_put")
def index_put(op: Op) -> Value:
    """Values written where `index` would read."""
    x, values = op["self"], op["values"]
    listed = list(op.raw("indices"))
    if any(_boolean(n) for n in listed if n is not None):
        tail = _masked(op, x, listed)
        for a, b in zip(reversed(tail), reversed(values), strict=False):
            if size(a) > 1 and size(b) > 1:
                op.unify(a, b)
        op.freeze(list(values[: max(len(values) - len(tail), 0)]), BY_POSITION)
        return x
    broadcast(op, _indexed(op, x, listed), values)
    return x


@rule("index_select")
def index_select(op: Op) -> Value:
    """self with one dimension read at `index`."""
    x, d = op["self"], op.dim("dim", len(op["self"]))
    op.freeze(x[d], BY_POSITION)
    picked = op["index"] or ((),)
    return (*x[:d], picked[0], *x[d + 1 :])


@rule("gather", "take_along_dim")
def gather(op: Op) -> Value:
    """The result has the dimensions of the index."""
    x = op["self"]
    picked = op["index"] if op.name == "gather" else op["indices"]
    d = op.dim("dim", len(x))
    op.freeze(x[d], BY_POSITION)
    _along(op, x, picked, d)
    if op.name == "gather":
        return picked
    return tuple(picked[i] if i == d else _wider(x[i], picked[i]) for i in range(len(x)))


def _wider(a: tuple, b: tuple) -> tuple:
    return a if size(a) >= size(b) else b


def _along(op: Op, x: Dims, other: Dims, d: int) -> None:
    """Tie all dimensions but d where they agree, else keep both."""
    for i, (a, b) in enumerate(zip(x, other, strict=True)):
        if i != d and size(a) == size(b):
            op.unify(a, b)
        elif i != d:
            op.freeze([a, b], BY_POSITION)


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(op: Op) -> Value:
    """Written along one dimension by position."""
    x, picked = op["self"], op["index"]
    d = op.dim("dim", len(x))
    op.freeze([x[d], picked[d]], BY_POSITION)
    _along(op, x, picked, d)
    src = op.get("src")
    if src:
        op.freeze(src[d], BY_POSITION)
        _along(op, picked, src, d)
    return x


@rule("index_add", "index_copy", "index_fill", "index_reduce")
def index_add(op: Op) -> Value:
    """Slices of `source` added at `index` along one dimension."""
    x, d = op["self"], op.dim("dim", len(op["self"]))
    op.freeze(x[d], BY_POSITION)
    source = op.get("source")
    if source:
        for i, (a, b) in enumerate(zip(x, source, strict=True)):
            if i != d:
                op.unify(a, b)
        if op["index"]:
            op.unify(source[d], op["index"][0])
    return x


@rule("topk", "sort", "kthvalue", "msort", "mode", "median_dim")
def order(op: Op) -> Value:
    """Ranked along one dimension, which stays; values and positions come out."""
    x, d = op["self"], op.dim("dim", len(op["self"]), -1)
    op.freeze(x[d], "ranked")
    val = op.node.meta["val"]
    shapes = [op.fixed_shape(i) for i in range(len(val))] if isinstance(val, list | tuple) else None
    if shapes is None:
        return _replace(x, op.fixed_shape(), d)
    return [_replace(x, shape, d) for shape in shapes]


def _replace(x: Dims, shape: Dims, d: int) -> Dims:
    if len(shape) != len(x):
        return x[:d] + x[d + 1 :]
    return tuple(shape[i] if i == d else t for i, t in enumerate(x))


@rule("flip", "roll", "cumsum", "cumprod", "cummax", "cummin", "argsort", "logcumsumexp", "diff")
def by_order(op: Op) -> Value:
    """Operators in which the order of a dimension counts: it stays."""
    x = op.tensors()[0]
    names = [name for name in ("dims", "dim") if op.raw(name) not in (None, [])]
    used = (
        op.dims(names[0], len(x)) if names else [len(x) - 1] if op.name == "diff" else range(len(x))
    )
    op.freeze([x[d] for d in used], "its order counts")
    val = op.node.meta["val"]
    if isinstance(val, list | tuple):
        return [x for _ in val]
    shape = op.fixed_shape()
    return tuple(shape[d] if d in used else t for d, t in enumerate(x))


@rule(
    *words("fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2"),
    *words("fft_irfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_fftshift fft_ifftshift"),
    *words("_fft_r2c _fft_c2r _fft_c2c"),
)
def fourier(op: Op) -> Value:
    """Transformed along some dimensions, which stay; the others pass."""
    x, shape = op["self"], op.fixed_shape()
    used = op.dims("dim", len(x))
    op.freeze([x[d] for d in used], "its order counts")
    return tuple(shape[d] if d in used else t for d, t in enumerate(x))


@rule("tril", "triu")
def triangle(op: Op) -> Value:
    """The last two dimensions are ordered."""
    x = op["self"]
    op.freeze(list(x[-2:]), "its order counts")
    return x


@rule("bucketize", "searchsorted")
def bucketize(op: Op) -> Value:
    """Positions of values among sorted boundaries, which stay."""
    bounds = op.raw("boundaries", op.raw("sorted_sequence"))
    dims = op.of(bounds) or ()
    op.freeze(dims, "ranked")
    x = op.get("self") or ()
    if op.name == "searchsorted" and len(dims) > 1:
        op.freeze(x, "ranked")
    return x
