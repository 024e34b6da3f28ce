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
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from secateur.core.instead import call_with
from secateur.structure.graph.attributes import (
    Attributes,
    Change,
    apply_attributes,
    holds,
    infer_attributes,
)
from secateur.structure.graph.axes import Axis
from secateur.structure.graph.capture import EXPORT_FAILURES, as_traced
from secateur.structure.graph.edit import edited, held, sliced
from secateur.structure.graph.errors import ProofError, TraceError
from secateur.structure.graph.export import said
from secateur.structure.graph.folds import Folds, find_folds, scale_weights
from secateur.structure.graph.graph_run import GraphRun
from secateur.structure.graph.graphnet import as_module
from secateur.structure.graph.hybrid import graph_modules, owners_to_replace, put
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.proof import Proof, compare, difference, randomised
from secateur.structure.graph.standard import own_tensor, repair, slice_tensors, standard
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
    found, kept = traced.inference, kept_units(plan)
    example = (args, dict(kwargs or {}))
    inputs = found.captured.inputs(*example)
    values = randomised(found)
    proof = prove(traced, plan, *inputs, preserve_norms, values)
    wanted = _Wanted(
        found, kept, preserve_norms, sliced(found, kept, values), inputs, proof.outputs
    )
    del values  # as large as the network
    failed: dict[str, str] = {}
    folds = find_folds(model, found, kept) if preserve_norms else NO_FOLDS
    if preserve_norms:
        levels = "".join(level for level in levels if level in ("ABD" if folds else "D"))
    for level in levels:
        used = folds if folds is not None and level in "AB" else NO_FOLDS
        for made in BUILDERS[level](model, wanted):
            if isinstance(made, _Made):
                made = _fold(made, used)
            error = wanted.distance(made, used)
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
    values: Mapping[str, Tensor] | None = None,
) -> Proof:
    """Compare masked and removed; raises when they differ though every axis of the plan is exact.

    `values` are the graph's tensors for the comparison, as for `compare`.
    """
    kept = kept_units(plan)
    exact = all(axis.exact or (preserve_norms and axis.mends) for axis in plan)
    found = traced.inference
    proof = compare(found, kept, args, kwargs, preserve_norms, exact, values)
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


class _Wanted:
    """What a delivered module has to be: the smaller graph, with random values and with the network's own.

    Attributes:
        found, kept: what was inferred, and what stays.
        graph: the edited graph.
        values: its random tensors.
        args, kwargs: what it is run on.
        proved: what it gives then in float64.
        copies: id of a tensor of `own` -> what a delivered graph has in its place.
    """

    def __init__(
        self,
        found: Inference,
        kept: Kept,
        preserve: bool,
        values: dict[str, Tensor],
        inputs: Any,
        proved: Sequence[Tensor],
    ) -> None:
        self.found, self.kept, self.values, self.proved = found, kept, values, proved
        self.args, self.kwargs = inputs
        self.graph = edited(found, kept, preserve)
        self.copies: dict[int, Tensor] = {}

    @property
    def run(self) -> GraphRun:
        """The graph over its random tensors."""
        return GraphRun(self.graph, lambda name: held(self.found, name, self.values))

    @cached_property
    def outputs(self) -> list[Tensor]:
        """What it gives in the network's own dtypes."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return self.found.captured.outputs.floats(self.run.outputs(leaves))

    @cached_property
    def own(self) -> dict[str, Tensor]:
        """The network's own tensors without what goes."""
        return sliced(self.found, self.kept)

    def owned(self, name: str) -> Any:
        """What the graph reads under a name, for a module that shares nothing with the network."""
        tensor = held(self.found, name, self.own)
        if not isinstance(tensor, Tensor):
            return tensor
        old = self.found.captured.tensors[name]  # tied ones stay so: they are copied once
        return self.copies.setdefault(id(tensor), own_tensor(tensor, old))

    def distance(self, made: _Made | str, folds: Folds) -> float | str:
        """Relative distance of a delivered module, or why it does not run."""
        if isinstance(made, str):
            return made
        try:
            got = self._got(made.module, folds.scaled(self.values))
        except EXPORT_FAILURES as error:
            return said(error)
        if wrong := _other_tensors(made.module, folds.scaled(self.own)):
            return f"tensor {wrong} is not the one the graph has"
        if [t.shape for t in got] != [t.shape for t in self.proved]:
            return "its outputs have other shapes"
        exact = difference([t.double() for t in got], list(self.proved))
        if exact <= CLOSE:
            return exact
        return difference(got, self.outputs)  # rounding aside: dtypes of few digits, deep networks

    def _got(self, module: nn.Module, values: Mapping[str, Tensor]) -> list[Tensor]:
        """The outputs of a module with other values in its parameters and buffers."""
        captured = self.found.captured
        tensors = [
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        ]
        swapped = {name: values[name] for name, _ in tensors if name in values}
        graph = isinstance(module, fx.GraphModule)
        with torch.no_grad(), as_traced(module) if graph else captured.running(module):
            output = call_with(module, swapped, self.args, self.kwargs)
        return captured.outputs.floats(output)


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
    known = [c for c in attributes.changes if standard(model.get_submodule(c.module), c.attribute)]
    slice_tensors(small, model, found, kept)
    apply_attributes(small, known)
    repair(small)
    others = [c for c in attributes.changes if c not in known and not holds(small, c)]
    attributes.changes = [*known, *others] if own else known
    if own:
        apply_attributes(small, others)
        repair(small)
    return small, attributes


def _level_a(model: nn.Module, wanted: _Wanted) -> Iterator[_Made]:
    small, attributes = eager(model, wanted.found, wanted.kept, own=False)
    yield _Made(small, tuple(attributes.changes))


def _level_b(model: nn.Module, wanted: _Wanted) -> Iterator[_Made]:
    small, attributes = eager(model, wanted.found, wanted.kept, own=True)
    yield _Made(small, tuple(attributes.changes))


def _level_c(model: nn.Module, wanted: _Wanted) -> Iterator[_Made | str]:
    """The modules with an unexplained constant, then also those at which the result is not the graph.

    Last, all that have a constant, with no attribute inferred.
    """
    found = wanted.found
    small, attributes = eager(model, found, wanted.kept, own=True)
    owners = owners_to_replace(model, attributes.unexplained)
    tried: list[list[str]] = []
    for _ in range(ROUNDS):
        if owners:
            tried.append(owners)
            made = _hybrid(model, wanted, owners, own=True)
            yield made
            if isinstance(made, str):
                break
            small = made.module
        with found.captured.running(small):
            where = unlike(small, wanted.run, wanted.values, wanted.args, wanted.kwargs)
        where = where.rpartition(".")[0] if where in owners else where
        wider = owners_to_replace(model, [*owners, *([where] if where else [])])
        if wider == owners or not where:
            break
        owners = wider
    every = owners_to_replace(model, attributes.owners)
    if every and every not in tried:
        yield _hybrid(model, wanted, every, own=False)
    elif not tried:
        yield "no submodule holds the constants"


def _hybrid(model: nn.Module, wanted: _Wanted, owners: list[str], own: bool) -> _Made | str:
    """A copy whose modules `owners` are graphs; `own`: with attributes inferred for the others."""
    found, kept = wanted.found, wanted.kept
    try:
        parts = graph_modules(model, found, kept, owners, wanted.args, wanted.kwargs)
    except EXPORT_FAILURES as error:
        return said(error)
    small, attributes = eager(model, found, kept, own)
    put(small, parts)
    slice_tensors(small, model, found, kept)
    return _Made(small, tuple(attributes.changes), tuple(owners))


def _level_d(model: nn.Module, wanted: _Wanted) -> Iterator[_Made | str]:
    if wanted.found.captured.parts is not None:
        yield NOT_WHOLE
    else:
        yield _Made(as_module(wanted.graph, wanted.owned))


CLOSE = 1e-5
"""What is as near as this to the float64 outputs needs no comparison with those of its own dtype."""
NOT_WHOLE = "the graph holds parts of the network only"
ROUNDS = 3
"""How often modules are added to those that become graphs; each time costs a capture."""

BUILDERS: dict[str, Callable[..., Iterator[_Made | str]]] = {
    "A": _level_a,
    "B": _level_b,
    "C": _level_c,
    "D": _level_d,
}
