"""`remove`: a network without the units that go, as ordinary a module as its code permits.

Four levels are tried in order, and one is taken only when it computes what the edited graph computes:

    A  tensors sliced, attributes of standard layers repaired
    B  and attributes of the network's own modules, inferred from the constants of the graph
    C  and the modules whose constants no attribute explains replaced by graph modules
    D  the whole edited graph
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from secateur.structure.graph.attributes import (
    Attributes,
    Change,
    apply_attributes,
    holds,
    infer_attributes,
)
from secateur.structure.graph.axes import Axis
from secateur.structure.graph.capture import EXPORT_FAILURES, as_traced
from secateur.structure.graph.edit import rebuild, sliced
from secateur.structure.graph.errors import ProofError, TraceError
from secateur.structure.graph.export import said
from secateur.structure.graph.folds import Folds, find_folds, scale_weights
from secateur.structure.graph.graphnet import as_module
from secateur.structure.graph.hybrid import graph_modules, owners_to_replace, put
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.proof import Proof, compare, difference, randomised
from secateur.structure.graph.standard import repair, slice_tensors
from secateur.structure.graph.trace import Trace
from secateur.structure.graph.unlike import unlike
from secateur.structure.graph.whole import check_whole

Plan = Mapping[Axis, Sequence[int]]
"""Axis -> units that stay, by number."""

NO_FOLDS = Folds({}, ())


@dataclass(frozen=True)
class Removal:
    """What was delivered.

    Attributes:
        module: the smaller network.
        level: `A`, `B`, `C` or `D`.
        changes: attributes set beyond those of standard layers.
        replaced: modules that became graph modules.
        proof: how far the smaller graph is from the masked one.
        error: how far the delivered module is from the smaller graph.
        failed: level -> why it was not taken.
        folds: of norms into which the old count was folded.
    """

    module: nn.Module
    level: str
    changes: tuple[Change, ...]
    replaced: tuple[str, ...]
    proof: Proof
    error: float
    failed: Mapping[str, str]
    folds: Folds = NO_FOLDS


def kept_units(plan: Plan) -> Kept:
    """The plan as sorted unit numbers by axis variable; refuses what no axis can lose."""
    kept = {}
    for axis, units in plan.items():
        chosen = np.unique(np.asarray(units, dtype=np.int64))
        if len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= axis.units:
            raise TraceError(
                f"axis '{axis.name}' keeps 1 to {axis.units} units numbered from 0, given {units}"
            )
        kept[axis.var] = chosen
    return kept


def remove(
    traced: Trace,
    model: nn.Module,
    plan: Plan,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    levels: str = "ABCD",
    preserve_norms: bool = False,
    tolerance: float = 1e-4,
) -> Removal:
    """A copy of `model` without the units that the plan does not keep; `model` itself is left alone.

    The masked and the smaller network are compared first (on exact axes they must agree), then the delivered
    module with the smaller graph. With `preserve_norms`, normalisations keep dividing by the old count:
    folded into the weights and eps of RMS norms (levels A and B), else said by the whole graph (level D).
    """
    example = (args, dict(kwargs or {}))
    args, kwargs = traced.inference.captured.inputs(*example)
    kept = kept_units(plan)
    proof = prove(traced, plan, args, kwargs, preserve_norms)
    found = traced.inference
    tensors = sliced(found, kept)
    small = rebuild(found, tensors, kept, preserve_norms)
    values = sliced(found, kept, randomised(found))
    wanted = _outputs(found, small, values, args, kwargs)
    failed: dict[str, str] = {}
    folds = find_folds(model, found, kept) if preserve_norms else NO_FOLDS
    if preserve_norms:
        levels = "".join(level for level in levels if level in ("ABD" if folds else "D"))
    for level in levels:
        used = folds if folds is not None and level in "AB" else NO_FOLDS
        own, random = used.scaled(tensors), used.scaled(values)
        for made in BUILDERS[level](model, traced, kept, small, args, kwargs):
            if isinstance(made, _Made):
                made = _fold(made, used)
            error = _distance(found, made, wanted, own, random, args, kwargs)
            if isinstance(made, _Made) and isinstance(error, float) and error <= tolerance:
                if found.captured.parts is not None:
                    exact = all(axis.exact for axis in plan)
                    check_whole(model, made.module, found, kept, exact, example)
                _same_modes(made.module, model)
                return Removal(
                    made.module,
                    level,
                    made.changes,
                    made.replaced,
                    proof,
                    error,
                    failed,
                    used,
                )
            failed[level] = error if isinstance(error, str) else f"differs by {error:.1e}"
    raise ProofError(f"no level delivers the smaller network: {failed}")


def prove(
    traced: Trace,
    plan: Plan,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    preserve_norms: bool = False,
) -> Proof:
    """Compare masked and removed; raises when they differ though every axis of the plan is exact."""
    kept = kept_units(plan)
    exact = all(axis.exact or (preserve_norms and axis.mends) for axis in plan)
    found = traced.inference
    proof = compare(found, kept, args, kwargs, preserve=preserve_norms, locate=exact)
    if not proof.shapes or not proof.finite:
        raise ProofError(f"the smaller network's output is wrong in shape or not finite: {proof}")
    if exact and not proof.holds():
        raise ProofError(
            f"removing is not masking (relative difference {proof.error:.1e}) on exact axes; "
            f"they part at {proof.first}"
        )
    return proof


def _same_modes(module: nn.Module, model: nn.Module) -> None:
    """Training or evaluation mode as in the network before, part by part where it has the same parts."""
    module.train(model.training)
    before = dict(model.named_modules())
    for name, part in module.named_modules():
        if name in before and type(part) is type(before[name]):
            part.training = before[name].training


@dataclass(frozen=True)
class _Made:
    module: nn.Module
    changes: tuple[Change, ...] = ()
    replaced: tuple[str, ...] = ()


def _fold(made: _Made, folds: Folds) -> _Made:
    """With the old counts folded into the weights and eps of its norms, on tensors of its own."""
    scale_weights(made.module, folds.scales, folds.shifts)
    apply_attributes(made.module, list(folds.changes))
    return replace(made, changes=(*made.changes, *folds.changes))


def _outputs(
    found: Inference,
    module: nn.Module,
    values: Mapping[str, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> list[Tensor]:
    """The outputs of a module with other values in its parameters and buffers."""
    held = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    captured = found.captured
    graph = isinstance(module, fx.GraphModule)
    with torch.no_grad(), as_traced(module) if graph else captured.running(module):
        swapped = {name: values[name] for name, _ in held if name in values}
        output = torch.func.functional_call(module, swapped, tuple(args), dict(kwargs))
    return captured.outputs.floats(output)


def _distance(
    found: Inference,
    made: _Made | str,
    wanted: list[Tensor],
    own: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> float | str:
    """Relative distance of a delivered module from the smaller graph, or why it does not run."""
    if isinstance(made, str):
        return made
    try:
        got = _outputs(found, made.module, values, args, kwargs)
    except EXPORT_FAILURES as error:
        return said(error)
    if wrong := _other_tensors(made.module, own):
        return f"tensor {wrong} is not the one the graph has"
    if [t.shape for t in got] != [t.shape for t in wanted]:
        return "its outputs have other shapes"
    return difference(got, wanted)


def _other_tensors(module: nn.Module, wanted: Mapping[str, Tensor]) -> str | None:
    """The first parameter or buffer whose values are not those of the graph."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name in wanted and not tensor.is_meta and not torch.equal(tensor, wanted[name]):
            return name
    return None


def eager(
    model: nn.Module, found: Inference, kept: Kept, own: bool
) -> tuple[nn.Module, Attributes]:
    """A copy with sliced tensors; constants of standard layers always, of other modules when `own`."""
    small = copy.deepcopy(model)
    attributes = infer_attributes(model, found, kept)
    groups = [c for c in attributes.changes if c.attribute in ("groups", "num_groups")]
    slice_tensors(small, model, found, kept)
    apply_attributes(small, groups)
    repair(small)
    others = [c for c in attributes.changes if c not in groups and not holds(small, c)]
    attributes.changes = [*groups, *others] if own else groups
    if own:
        apply_attributes(small, others)
        repair(small)
    return small, attributes


def _level_a(model: nn.Module, traced: Trace, kept: Kept, *_: Any) -> Iterator[_Made]:
    small, attributes = eager(model, traced.inference, kept, own=False)
    yield _Made(small, tuple(attributes.changes))


def _level_b(model: nn.Module, traced: Trace, kept: Kept, *_: Any) -> Iterator[_Made]:
    small, attributes = eager(model, traced.inference, kept, own=True)
    yield _Made(small, tuple(attributes.changes))


def _level_c(
    model: nn.Module,
    traced: Trace,
    kept: Kept,
    graph: fx.GraphModule,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Iterator[_Made | str]:
    """The modules with an unexplained constant, then also those at which the result is not the graph.

    Last, all that have a constant, with no attribute inferred.
    """
    found = traced.inference
    small, attributes = eager(model, found, kept, own=True)
    values = sliced(found, kept, randomised(found))
    random = rebuild(found, values, kept)
    owners = owners_to_replace(model, attributes.unexplained)
    tried: list[list[str]] = []
    for _ in range(ROUNDS):
        if owners:
            tried.append(owners)
            made = _hybrid(model, found, kept, owners, True, args, kwargs)
            yield made
            if isinstance(made, str):
                break
            small = made.module
        with found.captured.running(small):
            where = unlike(small, random, values, args, kwargs)
        where = where.rpartition(".")[0] if where in owners else where
        wider = owners_to_replace(model, [*owners, *([where] if where else [])])
        if wider == owners or not where:
            break
        owners = wider
    every = owners_to_replace(model, attributes.owners)
    if every and every not in tried:
        yield _hybrid(model, found, kept, every, False, args, kwargs)
    elif not tried:
        yield "no submodule holds the constants"


def _hybrid(
    model: nn.Module,
    found: Inference,
    kept: Kept,
    owners: list[str],
    own: bool,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> _Made | str:
    """A copy whose modules `owners` are graphs; `own`: with attributes inferred for the others."""
    try:
        parts = graph_modules(model, found, kept, owners, args, kwargs)
    except EXPORT_FAILURES as error:
        return said(error)
    small, attributes = eager(model, found, kept, own)
    put(small, parts)
    slice_tensors(small, model, found, kept)
    return _Made(small, tuple(attributes.changes), tuple(owners))


def _level_d(
    model: nn.Module, traced: Trace, kept: Kept, small: fx.GraphModule, *_: Any
) -> Iterator[_Made | str]:
    yield _Made(as_module(small)) if traced.inference.captured.parts is None else NOT_WHOLE


NOT_WHOLE = "the graph holds parts of the network only"
ROUNDS = 3
"""How often modules are added to those that become graphs; each time costs a capture."""

BUILDERS: dict[str, Callable[..., Iterator[_Made | str]]] = {
    "A": _level_a,
    "B": _level_b,
    "C": _level_c,
    "D": _level_d,
}
