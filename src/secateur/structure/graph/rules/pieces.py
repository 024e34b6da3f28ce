"""Putting dimensions end to end and cutting them up."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Patch, Value, rule
from secateur.structure.graph.terms import Dims, Fix, Term, concat, fix, size


@rule("cat", "concat", "concatenate")
def cat(op: Op) -> Value:
    """One dimension end to end, the others tied, also those of parts of which there is nothing."""
    rank = len(op.shape())
    at = op.dim("dim", rank)
    parts = [d for d in op.many("tensors") if len(d) == rank]
    parts.sort(key=lambda d: size(d[at]) == 0)  # in their order, those that add something first
    out = list(parts[0])
    for other in parts[1:]:
        for i in range(rank):
            if i != at:
                op.unify(out[i], other[i])
    ends = [op.solver.resolve(d[at]) for d in parts if size(d[at])]
    out[at] = concat(ends) if len(ends) > 1 else out[at]
    return tuple(out)


@rule("stack")
def stack(op: Op) -> Value:
    """A new dimension over tensors of equal dimensions."""
    parts = op.many("tensors")
    for other in parts[1:]:
        for a, b in zip(parts[0], other, strict=True):
            op.unify(a, b)
    out = list(parts[0])
    out.insert(op.dim("dim", len(out) + 1), fix(len(parts), "stack"))
    return tuple(out)


@rule(
    "split",
    "split_with_sizes",
    "chunk",
    "tensor_split",
    "unsafe_split",
    "unsafe_chunk",
    "split_copy",
)
def split(op: Op) -> Value:
    """Successive cuts; the graph then says the sizes of all pieces."""
    x = op["self"]
    d = op.dim("dim", len(x))
    sizes = [op.shape(i)[d] for i in range(len(op.node.meta["val"]))]
    if sum(sizes) != size(x[d]):  # values say how long the pieces are, and the hints are guesses
        op.freeze(x[d], "cut by values")
        even = len(sizes) * [size(x[d]) // len(sizes)]
        sizes = [*even[1:], size(x[d]) - sum(even[1:])]
        return [(*x[:d], fix(n, "cut by values"), *x[d + 1 :]) for n in sizes]
    if min(sizes) == 0:
        op.freeze(x[d], "an empty piece")
        return [(*x[:d], fix(n, "split"), *x[d + 1 :]) for n in sizes]
    pieces = pieces_of(op, x[d], sizes)
    op.patches.append(Patch(op.node, "dim", d, tuple(pieces), "sections"))
    return [(*x[:d], piece, *x[d + 1 :]) for piece in pieces]


def pieces_of(op: Op, term: Term, sizes: list[int]) -> list[Term]:
    """A dimension cut into pieces of the given sizes."""
    out: list[Term] = []
    for n in sizes[:-1]:
        piece, term = op.cut(term, n)
        out.append(piece)
    return [*out, term]


@rule("slice", "slice_copy")
def slice_(op: Op) -> Value:
    """From start to end; with a step the dimension is a product of steps."""
    x = op["self"]
    d = op.dim("dim", len(x))
    start, end, step = _bounds(op, size(x[d]))
    if end <= start:
        return (*x[:d], _nothing(op, x[d], start), *x[d + 1 :])
    piece = narrow_to(op, x[d], start, end)
    return (*x[:d], _stepped(op, piece, step), *x[d + 1 :])


def _nothing(op: Op, term: Term, start: int) -> Term:
    """An empty slice at the end stays one; anywhere else the dimension stays."""
    if start == size(term) and op.integer("start") > 0:
        op.patch("start", None, term)
    else:
        op.freeze(term, "an empty slice")
    return (Fix(0, "an empty slice"),)


def _bounds(op: Op, n: int) -> tuple[int, int, int]:
    start, end = op.integer("start", 0), op.integer("end", n)
    start, end = (v + n if v < 0 else v for v in (start, end))
    return min(max(start, 0), n), min(max(end, 0), n), op.integer("step", 1)


def narrow_to(op: Op, term: Term, start: int, end: int) -> Term:
    """The piece from start to end; the arguments follow what lies before and in it."""
    upto = term
    if end < size(term):
        upto, _ = op.cut(term, end)
        op.patch("end", None, upto)
    if start == 0:
        return upto
    before, piece = op.cut(upto, start)
    op.patch("start", None, before)
    return piece


def _stepped(op: Op, piece: Term, step: int) -> Term:
    if step == 1:
        return piece
    n = size(piece)
    if n % step:
        op.freeze(piece, "a slice with a step")
        return fix(-(-n // step), "a slice with a step")
    rows = op.fresh(n // step)
    op.unify(piece, rows + fix(step, "a slice with a step"))
    return rows


@rule("narrow", "narrow_copy")
def narrow(op: Op) -> Value:
    """`length` positions from `start`."""
    x = op["self"]
    d = op.dim("dim", len(x))
    start, length = op.integer("start") % max(size(x[d]), 1), op.integer("length")
    upto = x[d]
    if start + length < size(x[d]):
        upto, _ = op.cut(x[d], start + length)
    piece = upto
    if start:
        before, piece = op.cut(upto, start)
        op.patch("start", None, before)
    op.patch("length", None, piece)
    return (*x[:d], piece, *x[d + 1 :])


@rule("select", "select_copy")
def select(op: Op) -> Value:
    """One position of a dimension, which therefore stays."""
    x = op["self"]
    d = op.dim("dim", len(x))
    op.freeze(x[d], "one position is selected")
    return x[:d] + x[d + 1 :]


@rule("unbind", "unbind_copy")
def unbind(op: Op) -> Value:
    """One tensor for each position of a dimension, which therefore stays."""
    x = op["self"]
    d = op.dim("dim", len(x))
    op.freeze(x[d], "taken apart")
    return [x[:d] + x[d + 1 :] for _ in op.node.meta["val"]]


@rule("select_scatter", "slice_scatter")
def write_piece(op: Op) -> Value:
    """A piece of one dimension written over; that dimension stays."""
    x, src = op["self"], op["src"]
    d = op.dim("dim", len(x))
    op.freeze(x[d], "written by position")
    whole: Dims = (*x[:d], *x[d + 1 :])
    piece = src if op.name == "select_scatter" else (*src[:d], *src[d + 1 :])
    if op.name == "slice_scatter":
        op.freeze(src[d], "written by position")
    for a, b in zip(whole, piece, strict=True):
        op.unify(a, b)
    return x
