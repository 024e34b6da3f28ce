"""Views and permutations: the same elements under other dimensions."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule
from secateur.structure.graph.terms import Dims, Term, fix, size


def regroup(op: Op, x: Dims, shape: tuple[int, ...]) -> Dims:
    """New dimensions over the same row-major elements."""
    out = tuple(op.fresh(n) for n in shape)
    op.unify(tuple(a for t in x for a in t), tuple(a for t in out for a in t))
    return out


def patch_sizes(op: Op, arg: str, dims: Dims) -> None:
    """Let every explicit size of a shape argument follow its dimension; -1 stays."""
    given = op.raw(arg)
    for i, (entry, term) in enumerate(zip(given, dims, strict=True)):
        if not (isinstance(entry, int) and entry < 2):
            op.patch(arg, i, term)


@rule("reshape", "view", "_unsafe_view", "view_copy", "_reshape_alias", "_reshape_copy")
def reshape(op: Op) -> Value:
    """The product of all dimensions is read in other factors."""
    x = op["self"]
    if getattr(op.node.target, "_overloadname", "") == "dtype":
        return _reinterpret(op, x)
    out = regroup(op, x, op.shape())
    patch_sizes(op, "size" if op.raw("size") is not None else "shape", out)
    return out


def _reinterpret(op: Op, x: Dims) -> Dims:
    if tuple(map(size, x)) == op.shape():
        return x
    op.freeze(x[-1], "bytes read as another type")
    return (*x[:-1], *op.fixed_shape()[-1:])


@rule("flatten", "ravel")
def flatten(op: Op) -> Value:
    """Neighbouring dimensions become one."""
    return regroup(op, op["self"], op.shape())


@rule("unflatten")
def unflatten(op: Op) -> Value:
    """One dimension becomes several."""
    x = op["self"]
    out = regroup(op, x, op.shape())
    d = op.dim("dim", len(x))
    patch_sizes(op, "sizes", out[d : d + len(op.raw("sizes"))])
    return out


@rule("view_as", "reshape_as")
def view_as(op: Op) -> Value:
    """Read in the dimensions of another tensor."""
    other = op["other"]
    x = op["self"]
    op.unify(tuple(a for t in x for a in t), tuple(a for t in other for a in t))
    return other


@rule("permute", "permute_copy")
def permute(op: Op) -> Value:
    """Dimensions in another order."""
    x = op["self"]
    return tuple(x[d] for d in op.ints("dims"))


@rule("transpose", "swapaxes", "swapdims", "transpose_copy")
def transpose(op: Op) -> Value:
    """Two dimensions swapped."""
    x = list(op["self"])
    names = ("dim0", "dim1") if op.raw("dim0") is not None else ("axis0", "axis1")
    a, b = (op.dim(name, len(x)) for name in names)
    x[a], x[b] = x[b], x[a]
    return tuple(x)


@rule("t", "numpy_T", "mT", "mH", "adjoint", "t_copy", "matrix_H")
def swap_last(op: Op) -> Value:
    """Transposed matrices; `numpy_T` reverses all dimensions."""
    x = op["self"]
    if len(x) < 2:
        return x
    return x[::-1] if op.name == "numpy_T" else (*x[:-2], x[-1], x[-2])


@rule("movedim", "moveaxis")
def movedim(op: Op) -> Value:
    """Dimensions moved to given places, the others keep their order."""
    x = op["self"]
    source = [d % len(x) for d in op.ints("source")]
    target = [d % len(x) for d in op.ints("destination")]
    rest = iter(d for d in range(len(x)) if d not in source)
    order = [source[target.index(i)] if i in target else next(rest) for i in range(len(x))]
    return tuple(x[d] for d in order)


@rule("unsqueeze", "unsqueeze_copy")
def unsqueeze(op: Op) -> Value:
    """A dimension of size 1 more."""
    x = list(op["self"])
    x.insert(op.dim("dim", len(x) + 1), ())
    return tuple(x)


@rule("squeeze", "squeeze_copy")
def squeeze(op: Op) -> Value:
    """Dimensions of size 1 gone; the graph is normalised so that they are named."""
    x = op["self"]
    gone = [d for d in op.dims("dim", len(x)) if size(x[d]) == 1]
    return tuple(t for d, t in enumerate(x) if d not in gone)


@rule("expand", "broadcast_to", "expand_copy")
def expand(op: Op) -> Value:
    """A repeated dimension is an axis of its own (as the query heads of one key head)."""
    out = _expanded(op, op["self"], op.shape())
    patch_sizes(op, "size", out)
    return out


@rule("expand_as")
def expand_as(op: Op) -> Value:
    """Repeated to the dimensions of another tensor."""
    x, other = op["self"], op["other"]
    lead = len(other) - len(x)
    for mine, theirs in zip(x, other[lead:], strict=True):
        if size(mine) > 1:
            op.unify(mine, theirs)
    return other


def _expanded(op: Op, x: Dims, shape: tuple[int, ...]) -> Dims:
    lead = len(shape) - len(x)
    padded: list[Term] = [()] * lead + list(x)
    out = tuple(t if size(t) == n else op.fresh(n) for t, n in zip(padded, shape, strict=True))
    op.repeats += [t for t, before in zip(out, padded, strict=True) if t != before]
    return out


@rule("repeat", "tile")
def repeat(op: Op) -> Value:
    """A fixed number of copies outside of every dimension."""
    x = op["self"]
    counts = op.ints("repeats") if op.raw("repeats") is not None else op.ints("dims")
    rank = max(len(x), len(counts))
    counts = [1] * (rank - len(counts)) + counts
    padded: list[Term] = [()] * (rank - len(x)) + list(x)
    return tuple(fix(r, "repeat") + t for r, t in zip(counts, padded, strict=True))


@rule("repeat_interleave")
def repeat_interleave(op: Op) -> Value:
    """Every unit repeated in place by a fixed number."""
    x = op.tensors()[0]
    repeats = op.raw("repeats")
    if not isinstance(repeats, int) or op.raw("dim") is None:
        for dims in op.tensors():
            op.freeze(dims, "repeated by counts")
        return op.fixed_shape()
    d = op.dim("dim", len(x))
    return (*x[:d], x[d] + fix(repeats, "repeat"), *x[d + 1 :])


@rule("unfold")
def unfold(op: Op) -> Value:
    """Windows over one dimension, which stays."""
    x, d = op["self"], op.dim("dimension", len(op["self"]))
    op.freeze(x[d], "window")
    return (*x[:d], fix(op.shape()[d], "window"), *x[d + 1 :], fix(op.shape()[-1], "window"))


@rule("as_strided", "view_as_complex", "view_as_real")
def by_stride(op: Op) -> Value:
    """Complex views keep all but the pair; arbitrary strides keep everything."""
    x = op["self"]
    if op.name == "as_strided":
        op.freeze(x, "read by strides")
        return op.fixed_shape()
    if op.name == "view_as_real":
        return (*x, fix(2, "complex pair"))
    op.freeze(x[-1], "complex pair")
    return x[:-1]
