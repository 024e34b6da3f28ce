"""Contractions: linear layers and matrix products of every spelling."""

from __future__ import annotations

from torch import fx

from secateur.structure.graph.op import Op, Value, rule
from secateur.structure.graph.rules.pointwise import broadcast
from secateur.structure.graph.terms import Dims, Term, size


def tie(op: Op, a: Term, b: Term) -> Term:
    """Unify unless one of the two is a broadcast size 1."""
    if size(a) == 1 or size(b) == 1:
        return a if size(b) == 1 else b
    return op.unify(a, b)


@rule("linear")
def linear(op: Op) -> Value:
    """x [..., in] and weight [out, in] -> [..., out]."""
    x, w, bias = op["input"], op["weight"], op.get("bias")
    op.unify(x[-1], w[-1])
    if bias:
        op.unify(bias[0], w[0])
    op.cost(w[:-1], x[-1:], x[:-1], op.weight("weight"))
    return x[:-1] + w[:-1]


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner_1d", "linalg_matmul")
def matmul(op: Op) -> Value:
    """[..., m, k] and [..., k, n] -> [..., m, n]; a vector is a row on the left, a column on the right."""
    first, second = op.tensors() if len(op.tensors()) == 2 else op.tensors() * 2
    return product(op, first, second, op.node.args[0], op.weight())


def product(op: Op, a: Dims, b: Dims, left: object, weight: fx.Node | None) -> Dims:
    """The dimensions of `a @ b`; `weight` is the factor that is a parameter, perhaps `left`."""
    op.unify(a[-1], b[-2] if len(b) > 1 else b[0])
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    lead = broadcast(op, a[:-2], b[:-2])
    on_the_left = weight is not None and weight is left
    out, other = (rows, columns) if on_the_left else (columns, rows)
    op.cost(out, a[-1:], lead + other, weight)
    return lead + rows + columns


@rule("addmm", "baddbmm", "addmv", "addbmm")
def add_product(op: Op) -> Value:
    """input + a @ b."""
    names = {"addmm": ("mat1", "mat2"), "addmv": ("mat", "vec")}.get(op.name, ("batch1", "batch2"))
    out = product(op, op[names[0]], op[names[1]], op.raw(names[0]), op.weight(*names))
    if op.name == "addbmm":
        op.freeze(list(op[names[0]][:1]), "sum over the batch")
        out = out[1:]
    return broadcast(op, out, op["self"])


@rule("outer", "ger")
def outer(op: Op) -> Value:
    """[m], [n] -> [m, n]."""
    return op["self"] + op["vec2"]


@rule("bilinear")
def bilinear(op: Op) -> Value:
    """x1 [..., a], x2 [..., b], weight [out, a, b]."""
    x, y, w, bias = op["input1"], op["input2"], op["weight"], op.get("bias")
    op.unify(x[-1], w[1])
    op.unify(y[-1], w[2])
    if bias:
        op.unify(bias[0], w[0])
    return broadcast(op, x[:-1], y[:-1]) + w[:1]


@rule("einsum")
def einsum(op: Op) -> Value:
    """A term for each letter; an ellipsis stands for letters counted from the right."""
    equation, operands = str(op.raw("equation")).replace(" ", ""), op.many("tensors")
    left, _, right = equation.partition("->")
    labels = [_letters(word, len(d)) for word, d in zip(left.split(","), operands, strict=True)]
    terms: dict[str, Term] = {}
    for word, dims in zip(labels, operands, strict=True):
        for letter, term in zip(word, dims, strict=True):
            terms[letter] = tie(op, terms[letter], term) if letter in terms else term
    result = _result(equation, right, labels, len(op.shape()))
    inner = tuple(term for letter, term in terms.items() if letter not in result)
    weight = op.weight()
    held = op.of(weight) or ()
    out = tuple(terms[x] for x in result if terms[x] in held)
    op.cost(out, inner, tuple(terms[x] for x in result if terms[x] not in held), weight)
    return tuple(terms[letter] for letter in result)


def _letters(word: str, rank: int) -> list[str]:
    before, dots, after = word.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]


def _result(equation: str, right: str, labels: list[list[str]], rank: int) -> list[str]:
    if "->" in equation:
        return _letters(right, rank)
    every = [letter for word in labels for letter in word]
    hidden = sorted({x for x in every if len(x) > 1}, key=lambda x: -int(x[3:]))
    return hidden + sorted({x for x in every if len(x) == 1 and every.count(x) == 1})


@rule("_grouped_mm", "transformers::grouped_mm_fallback", "transformers::_grouped_mm_fallback")
def grouped_mm(op: Op) -> Value:
    """Experts: x [tokens, k], weight [experts, k, n] -> [tokens, n]; tokens and experts stay."""
    x, w = op.tensors()[:2]
    op.unify(x[-1], w[-2])
    op.freeze([*x[:-1], *w[:-2]], "tokens are sent to experts by number")
    for other in op.tensors()[2:]:
        op.freeze(other, "tokens are sent to experts by number")
    op.cost(w[-1:], x[-1:], x[:-1], op.weight())
    return x[:-1] + w[-1:]
