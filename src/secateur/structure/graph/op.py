"""What a rule sees of one operator call, and the table of rules.

A rule says how the dimensions of an operator's results follow from those of its inputs:

    from secateur.structure.graph import rule

    @rule("mylib::scaled_add")            # aten operators by bare name, others as namespace::name
    def scaled_add(op):
        a, b = op["a"], op["b"]           # one term per dimension, by the schema's argument names
        return tuple(op.unify(x, y) for x, y in zip(a, b))

`op.unify` ties two dimensions, `op.freeze` forbids removal, `op.inexact` says that removal differs from
masking, `op.patch` names an integer argument that must follow a dimension. A tuple of terms is returned for a
tensor, a list of them for several tensors. What a rule is not sure about it freezes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import fx

from secateur.structure.graph.solver import Solver
from secateur.structure.graph.terms import Dims, Term, fix

Value: TypeAlias = "Dims | list[Any] | None"
Rule: TypeAlias = "Callable[[Op], Value]"
RULES: dict[str, Rule] = {}


@dataclass(frozen=True)
class Patch:
    """An argument of a node that follows a dimension.

    Kinds: `size` (the size of `terms[0]`), `sections` (the sizes of all terms, for a split), `scale`
    (1/sqrt of the old size of `terms[0]`, written out when it changes).
    """

    node: fx.Node
    arg: str
    position: int | None
    terms: tuple[Term, ...]
    kind: Literal["size", "sections", "scale"] = "size"

    def resolved(self, resolve: Callable[[Term], Term]) -> Patch:
        """The same with its terms resolved."""
        return replace(self, terms=tuple(map(resolve, self.terms)))


@dataclass(frozen=True)
class Cost:
    """The multiplications of one contraction: a product of sizes.

    Attributes:
        out: dimensions of the result that the weight gives (its producers write these).
        inner: contracted dimensions.
        other: all remaining factors (positions, batch).
        weight: the argument that is a parameter, if one is.
    """

    node: fx.Node
    out: tuple[Term, ...]
    inner: tuple[Term, ...]
    other: tuple[Term, ...] = ()
    weight: fx.Node | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every factor."""
        return self.out + self.inner + self.other

    def resolved(self, resolve: Callable[[Term], Term]) -> Cost:
        """The same with its terms resolved."""
        out, inner, other = (
            tuple(map(resolve, part)) for part in (self.out, self.inner, self.other)
        )
        return Cost(self.node, out, inner, other, self.weight)


def words(text: str) -> list[str]:
    """Operator names written as one text."""
    return text.split()


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for the operators `names`; the last one registered holds."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def hint(value: Any) -> int:
    """A size as a number: of a symbolic size, the example's; of one that hangs on values, a stand-in."""
    if not isinstance(value, torch.SymInt):
        return int(value)
    return _stand_in(value) if value.node.hint is None else int(value.node.hint)


UNKNOWN = 17
"""Stands for a size that only running tells, MACs included; a prime, so that no reshape cuts it up."""


def _stand_in(value: torch.SymInt) -> int:
    expression, known = value.node.expr, value.node.shape_env.backed_var_to_val
    return int(expression.xreplace({s: known.get(s, UNKNOWN) for s in expression.free_symbols}))


def is_constant(node: fx.Node) -> bool:
    """Whether a value is made of parameters and buffers alone, within a few operators."""
    layer = [node]
    for _ in range(13):
        if not layer:
            return True
        if any(n.op == "placeholder" for n in layer) or len(layer) > 32:
            return False
        layer = [source for n in layer for source in n.all_input_nodes if n.op != "get_attr"]
    return False


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape of a traced tensor at the example."""
    return tuple(hint(n) for n in tensor.shape)


def base_name(node: fx.Node) -> str:
    """`conv2d` for `aten.conv2d.default`, `add` for `aten.add_.Tensor`, `ns::op` for other namespaces."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return getattr(node.target, "__name__", str(node.target))
    space, name = str(schema.name).split("::")
    if len(name) > 1 and name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name if space == "aten" else f"{space}::{name}"


@dataclass(frozen=True)
class Inexact:
    """A dimension whose removal is not zeroing; `mends`: it would be, divided by the old count."""

    term: Term
    why: str
    mends: bool
    node: fx.Node | None = None

    def resolved(self, resolve: Callable[[Term], Term]) -> Inexact:
        """The same with its term resolved."""
        return replace(self, term=resolve(self.term))


class Op:
    """One operator call under inference."""

    def __init__(self, node: fx.Node, values: dict[fx.Node, Value], solver: Solver) -> None:
        self.node = node
        self.name = base_name(node)
        self.solver = solver
        self.patches: list[Patch] = []
        self.inexacts: list[Inexact] = []
        self.costs: list[Cost] = []
        self.sums: list[Term] = []  # dimensions along which two activations are added
        self.repeats: list[Term] = []  # dimensions made by expanding
        self._values = values
        self._args = _bind(node)

    def raw(self, name: str, default: Any = None) -> Any:
        """An argument as it stands in the graph; `default` when it is absent or None."""
        value = self._args.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int = 0) -> int:
        """An integer argument at the example."""
        return self.number(self.raw(name, default))

    def number(self, value: Any) -> int:
        """A number or the example's value of a symbolic node."""
        return hint(value.meta["val"]) if isinstance(value, fx.Node) else hint(value)

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """An integer-list argument (or one integer) at the example."""
        value = self.raw(name, default)
        listed = value if isinstance(value, list | tuple) else [value]
        return [self.number(v) for v in listed]

    def __getitem__(self, name: str) -> Dims:
        """The terms of a tensor argument."""
        dims = self.of(self._args.get(name))
        if dims is None:
            raise KeyError(f"{self.name}: argument {name} is not a tensor")
        return dims

    def get(self, name: str) -> Dims | None:
        """The terms of an optional tensor argument."""
        return self.of(self._args.get(name))

    def of(self, value: Any) -> Dims | None:
        """The terms of a tensor node, None for anything else."""
        found = self._values.get(value) if isinstance(value, fx.Node) else None
        return found if isinstance(found, tuple) else None

    def many(self, name: str) -> list[Dims]:
        """The terms of a list of tensors; absent entries are left out."""
        value = self._args.get(name)
        if isinstance(value, fx.Node):
            held = self._values.get(value)
            return [v for v in held if isinstance(v, tuple)] if isinstance(held, list) else []
        return [d for d in map(self.of, value or ()) if d is not None]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of a result at the example."""
        val = self.node.meta["val"]
        return shape_of(val[index] if isinstance(val, list | tuple) else val)

    def tensors(self) -> list[Dims]:
        """The terms of every tensor that goes in."""
        out: list[Dims] = []
        for node in self.node.all_input_nodes:
            held = self._values.get(node)
            out += held if isinstance(held, list) else [held] if held is not None else []
        return [d for d in out if isinstance(d, tuple)]

    def unify(self, a: Term, b: Term) -> Term:
        """Say that two dimensions are the same."""
        return self.solver.unify(a, b)

    def freeze(self, terms: Term | Sequence[Term], why: str) -> None:
        """Forbid any removal from the given dimensions."""
        for term in _as_dims(terms):
            self.solver.freeze(term, f"{why} ({self.solver.where})")

    def fresh(self, n: int) -> Term:
        """A dimension of its own."""
        return self.solver.fresh(n)

    def cut(self, term: Term, p: int) -> tuple[Term, Term]:
        """The first p positions of a dimension, and the rest."""
        return self.solver.cut(term, p)

    def inexact(self, term: Term, why: str, mends: bool = False) -> None:
        """Removing units is not zeroing them; `mends`: it would be, divided by the old count."""
        self.inexacts.append(Inexact(term, why, mends, self.node))

    def cost(self, out: Dims, inner: Dims, other: Dims = (), weight: fx.Node | None = None) -> None:
        """Note the multiplications of a contraction; `weight` is the factor that is a parameter."""
        self.costs.append(Cost(self.node, tuple(out), tuple(inner), tuple(other), weight))

    def weight(self, *names: str) -> fx.Node | None:
        """The first of the named arguments (or of all inputs) that is a parameter, perhaps viewed."""
        given = [self._args.get(name) for name in names] if names else self.node.all_input_nodes
        return next((n for n in given if isinstance(n, fx.Node) and is_constant(n)), None)

    def patch(self, arg: str, position: int | None, term: Term) -> None:
        """Let an integer argument (or one entry of a list) follow the size of a dimension."""
        self.patches.append(Patch(self.node, arg, position, (term,)))

    def fixed_shape(self, index: int = 0) -> Dims:
        """Frozen result dimensions."""
        return tuple(fix(n, self.solver.where) for n in self.shape(index))

    def dim(self, name: str = "dim", rank: int = 0, default: int = 0) -> int:
        """A dimension argument, counted from the front."""
        return self.integer(name, default) % max(rank, 1)

    def dims(self, name: str, rank: int) -> list[int]:
        """A dimension-list argument counted from the front; all dimensions when it is absent or empty."""
        given = self.raw(name)
        if given is None or (isinstance(given, list | tuple) and not given):
            return list(range(rank))
        return sorted(d % max(rank, 1) for d in self.ints(name))


def _as_dims(terms: Any) -> list[Term]:
    nested = terms and isinstance(terms[0], tuple)
    return list(terms) if nested or isinstance(terms, list) else [terms]


def _bind(node: fx.Node) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {str(i): a for i, a in enumerate(node.args)} | dict(node.kwargs)
    bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    bound |= {a.name: v for a, v in zip(schema.arguments, node.args, strict=False)}
    return bound | dict(node.kwargs)
