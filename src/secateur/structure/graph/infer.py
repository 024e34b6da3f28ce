"""The pass: every dimension of every value of a captured graph gets a term."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols
from torch.utils import _pytree as pytree

from secateur.core.names import layer_at
from secateur.structure.graph import rules as _rules
from secateur.structure.graph.capture import Captured
from secateur.structure.graph.errors import TraceError
from secateur.structure.graph.op import RULES, Cost, Inexact, Op, Patch, Value, shape_of
from secateur.structure.graph.rules.pointwise import is_pointwise
from secateur.structure.graph.solver import Limits, Solver, TermError
from secateur.structure.graph.terms import Dims, Term, fix, size

assert _rules.__all__  # importing the package fills the table

INTO_PART, OUT_OF_PART = "input of a part traced alone", "output of a part traced alone"


@dataclass
class Inference:
    """What the pass found.

    Attributes:
        terms: tensor name -> one resolved term for each dimension.
        values: node -> resolved terms of its result.
        patches: arguments that follow a dimension.
        inexact: dimensions whose removal is not the same as zeroing them.
        costs: the multiplications of each contraction as products of terms.
        sums: dimensions along which two activations are added.
        repeats: dimensions made by expanding.
        unknown: operator without a rule -> the layers it was met in.
    """

    captured: Captured
    solver: Solver
    terms: dict[str, Dims] = field(default_factory=dict)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    patches: list[Patch] = field(default_factory=list)
    inexact: list[Inexact] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    sums: list[Term] = field(default_factory=list)
    repeats: list[Term] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)


def layer_of(node: fx.Node) -> str:
    """The name of the submodule a node was traced in."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name).split("@")[0] for name, _ in stack.values()]
    return layer_at(names[-1]) if names else ""


def infer(captured: Captured, limits: Limits | None = None) -> Inference:
    """Run the rules over the graph, once, in order."""
    found = Inference(captured, Solver(limits))
    shared: dict[tuple[str, ...], Dims] = {}
    for node in captured.graph.nodes:
        found.solver.where = f"{node.name} in {layer_of(node) or 'the model'}"
        found.values[node] = _value(found, node, shared)
    _freeze_overlaps(found)
    _resolve_all(found)
    return found


def _value(found: Inference, node: fx.Node, shared: dict[tuple[str, ...], Dims]) -> Value:
    whole = found.captured.parts is None
    if node.op == "placeholder":
        return _fixed_value(node.meta.get("val"), "user input" if whole else INTO_PART)
    if node.op == "get_attr":
        return _tensor(found, str(node.target), shared)
    if node.op == "output":
        _freeze_outputs(found, node, "user output" if whole else OUT_OF_PART)
        return None
    if node.target is operator.getitem:
        held = found.values[node.args[0]]  # type: ignore[index]
        return held[node.args[1]] if isinstance(held, list) else None  # type: ignore[index]
    return _call(found, node)


def _freeze_outputs(found: Inference, node: fx.Node, why: str) -> None:
    for number, source in enumerate(pytree.tree_leaves(node.args[0])):
        if number in found.captured.outputs.held and isinstance(source, fx.Node):
            _freeze_value(found.solver, found.values[source], why)


def _tensor(found: Inference, name: str, shared: dict[tuple[str, ...], Dims]) -> Value:
    tensor = found.captured.tensors.get(name)
    if tensor is None:
        return None
    key = found.captured.twins[name]
    if key not in shared:
        shared[key] = tuple(found.solver.fresh(n) for n in tensor.shape)
        if why := found.captured.shared(name):
            _freeze_value(found.solver, shared[key], why)
    found.terms[name] = shared[key]
    return shared[key]


def _fixed_value(val: Any, why: str) -> Value:
    if isinstance(val, Tensor):
        return tuple(fix(n, why) for n in shape_of(val))
    if isinstance(val, list | tuple):
        return [_fixed_value(v, why) for v in val]
    return None


def _freeze_value(solver: Solver, value: Value, why: str) -> None:
    for part in value if isinstance(value, list) else [value]:
        for term in part or ():
            solver.freeze(term, why)


def _call(found: Inference, node: fx.Node) -> Value:
    op = Op(node, found.values, found.solver)
    if not op.tensors() and not _holds_tensor(node.meta.get("val")):
        return None
    rule = _rule_for(op)
    if rule is None:
        found.unknown.setdefault(op.name, []).append(layer_of(node))
        return _freeze_call(found, op)
    try:
        value = rule(op)
    except TermError as error:
        raise _broken(op, str(error)) from error
    _check(op, value)
    found.patches += op.patches
    found.inexact += op.inexacts
    found.costs += op.costs
    found.sums += op.sums
    found.repeats += op.repeats
    return value


def _rule_for(op: Op) -> Callable[[Op], Value] | None:
    if op.name in RULES:
        return RULES[op.name]
    return RULES["pointwise"] if is_pointwise(op.node.target) else None


def _freeze_call(found: Inference, op: Op) -> Value:
    for source in op.node.all_input_nodes:
        _freeze_value(found.solver, found.values[source], f"operator {op.name} has no rule")
    return _fixed_value(op.node.meta.get("val"), f"operator {op.name} has no rule")


def _holds_tensor(val: Any) -> bool:
    if isinstance(val, list | tuple):
        return any(_holds_tensor(v) for v in val)
    return isinstance(val, torch.Tensor)


def _check(op: Op, value: Value) -> None:
    """Every rule's result has the traced shape: a wrong rule is caught where it is wrong."""
    val = op.node.meta.get("val")
    results = value if isinstance(value, list) else [value]
    traced = val if isinstance(val, list | tuple) else [val]
    for dims, tensor in zip(results, traced, strict=False):
        if not isinstance(tensor, torch.Tensor) or dims is None:
            continue
        given, wanted = tuple(map(size, dims)), shape_of(tensor)
        known = [not has_free_unbacked_symbols(n) for n in tensor.shape]  # others depend on values
        same = [a == b for a, b, told in zip(given, wanted, known, strict=False) if told]
        if len(given) != len(wanted) or not all(same):
            raise _broken(op, f"it gives {given} where {wanted} was traced")


def _broken(op: Op, what: str) -> TraceError:
    return TraceError(
        f"the rule for operator {op.name} in layer '{layer_of(op.node) or 'model'}' is wrong: {what}. "
        f"Remedy: register another with @rule('{op.name}')"
    )


def _freeze_overlaps(found: Inference) -> None:
    """Two different views of one storage cannot be cut apart: they stay."""
    for name, other in overlapping(found.captured.tensors, found.captured.twins):
        _freeze_value(found.solver, found.terms[name], f"shares memory with {other}")
        _freeze_value(found.solver, found.terms[other], f"shares memory with {name}")


def overlapping(
    tensors: Mapping[str, Tensor], twins: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """Pairs of tensors that share memory and are not the same."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        start = int(tensor.storage_offset())
        reach = (
            sum((int(n) - 1) * int(s) for n, s in zip(tensor.shape, tensor.stride(), strict=True))
            + 1
        )
        storage = tensor.untyped_storage()._cdata
        spans.setdefault(storage, []).append((start, start + max(reach, 0), name))
    for held in spans.values():
        for i, (start, end, name) in enumerate(held):
            for start2, end2, other in held[i + 1 :]:
                if other not in twins[name] and start < end2 and start2 < end:
                    yield name, other


def _resolve_all(found: Inference) -> None:
    resolve = found.solver.resolve

    def dims(value: Value) -> Value:
        if isinstance(value, list):
            return [dims(v) for v in value]
        return tuple(map(resolve, value)) if value is not None else None

    found.terms = {name: tuple(map(resolve, terms)) for name, terms in found.terms.items()}
    found.values = {node: dims(value) for node, value in found.values.items()}
    found.patches = [p.resolved(resolve) for p in found.patches]
    found.costs = [c.resolved(resolve) for c in found.costs]
    found.inexact = [note.resolved(resolve) for note in found.inexact]
    found.sums = [resolve(t) for t in found.sums]
    found.repeats = [resolve(t) for t in found.repeats]
