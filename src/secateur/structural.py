"""The public face of structures: trace, shrink, measure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .api import Result
from .artifact.source import before_pruning
from .core.edits import Edits
from .core.errors import PlanError, unknown
from .core.origin import set_origin
from .core.recipe import Recipe
from .core.types import Target
from .materialise import HardMasks, Masks
from .measure.report import Comparison, Measured
from .measure.report import compare as _compare
from .measure.report import measure as _measure
from .structure.coupled import Chosen, Coupled, chosen, coupled_targets, trace_example
from .structure.example import arguments, example_in_words
from .structure.experts import mixtures
from .structure.fewer_experts import fewer_experts, passed_by
from .structure.graph import Axis, Removal, Trace, remove
from .structure.graph.capture import SECONDS
from .structure.graph.errors import ProofError
from .structure.graph.proof import floats, gap
from .structure.graph.remove import kept_units
from .structure.graph.replay import written
from .structure.listing import Structures


def trace(
    model: nn.Module, example: Any, *, outputs: Chosen = None, seconds: float = SECONDS
) -> Structures:
    """The coupled structures of a network: what has to go together, what a unit costs, what is frozen.

    Args:
        model: any network; it is left as it was. Where `torch.export` cannot follow all of it, the
            submodules that it can are traced, and the rest is frozen, with the reason.
        example: a tensor, a tuple of arguments or a dict of keywords, with two samples or more.
        outputs: names or numbers of the outputs that keep their size; by default all, but of a
            Hugging Face model that predicts (`logits`, …) not the internal states it also returns.
            `"*"` is every output.
        seconds: the longest the capture may take.

    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> print(trace(net, torch.zeros(2, 3)))
    name  kind     units  members  params/unit  MACs/unit  on  removal
    0     neurons      8        3            6         10  on  exact
    <BLANKLINE>
    1 structures, 1 on by default; MACs are those of the whole example
    """
    return Structures(trace_example(model, example, "trace", chosen(outputs), seconds))


@dataclass(frozen=True)
class Shrunk:
    """What `shrink` returns.

    Attributes:
        model: the smaller network, on its own: no masks, no hooks.
        kept: structure -> numbers of the units that stayed, for every one that lost some.
        record: `level` (A ordinary modules, B with inferred attributes, C with some graph modules,
            D a graph), `proof` (relative difference of removed and masked, and of masked and whole,
            on random weights), `error` (of the delivered module from the proved graph),
            `difference` (of the outputs on the example, from the masked network; a rounding error
            where `exact` is true), parameters, MACs and units before and after, attributes
            changed and modules replaced; `pruning`, the record of the result that was shrunk.
        edits: the removal as plain data, which `save` writes down; the network remembers it too.
    """

    model: nn.Module
    kept: dict[str, tuple[int, ...]]
    record: dict[str, Any]
    edits: Edits


def shrink(
    what: Result | nn.Module,
    example: Any,
    *,
    keep: Mapping[str, Sequence[int]] | None = None,
    preserve_norms: bool = False,
    outputs: Chosen = None,
) -> Shrunk:
    """Take structures physically out, and prove that the smaller network computes the same.

    Args:
        what: a result of structural pruning, or a network. Of a network go the units whose every
            parameter is zero, or those that `keep` does not name.
        example: as for `trace`. Where the record says level C or D, the batch size is free only when
            the example has two samples or more.
        keep: structure -> numbers of the units that stay; the network is left unmasked otherwise.
        preserve_norms: let normalisations over a removed axis divide by the old count.
        outputs: as for `trace`; by default those the result was pruned for.

    Removal is exact where masking was: at least one unit of every structure stays.

    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> shrink(net, torch.zeros(2, 3), keep={"0": [1, 2, 5]}).model[0]
    Linear(in_features=3, out_features=3, bias=True)
    """
    model = what.model if isinstance(what, Result) else what
    stock = _without_masks(model)
    experts = _experts(what, keep)
    if experts is not None:
        return _fewer_experts(what, stock, experts, example)
    traced = trace_example(stock, example, "shrink", _outputs(what, outputs))
    plan = _plan(what, keep, traced, stock)
    args, kwargs = arguments(example)
    removal = remove(traced, stock, plan, args, kwargs, preserve_norms=preserve_norms)
    targets = coupled_targets(traced, stock, list(plan))
    record = _record(traced, stock, plan, removal)
    record["exact"] = all(target.exact for target in targets.values())
    masked = _masked(stock, targets, plan)
    record["difference"] = gap(masked, removal.module, args, kwargs, _read(traced))
    record |= {"pruning": what.record} if isinstance(what, Result) else {}
    kept = {axis.name: tuple(units) for axis, units in plan.items()}
    edits = _edits(traced, stock, plan, removal, example, preserve_norms)
    _remember(stock, removal.module, edits, example)
    return Shrunk(removal.module, kept, record, edits)


def _edits(
    traced: Trace, stock: nn.Module, plan: Plan, removal: Removal, example: Any, norms: bool
) -> Edits:
    """The removal as plain data; a network that became a graph is traced again by who loads it."""
    retrace = None
    if removal.level in "CD":
        retrace = (removal.level, example_in_words(example), norms)
    found, kept = traced.inference, kept_units(plan)
    return written(stock, found, plan, kept, removal.changes, retrace)


def _remember(stock: nn.Module, small: nn.Module, edits: Edits, example: Any) -> None:
    """The smaller network has the history of the stock one and these edits."""
    before = before_pruning(stock, example_in_words(example))
    set_origin(small, before.model_copy(update={"edits": (*before.edits, edits)}))


def _experts(
    what: Result | nn.Module, keep: Mapping[str, Sequence[int]] | None
) -> dict[str, list[int]] | None:
    """Layer of experts -> experts that stay, where that is what is to be taken out."""
    model = what.model if isinstance(what, Result) else what
    layers = {mixture.experts for mixture in mixtures(model)}
    if keep is not None:
        return {n: sorted(set(u)) for n, u in keep.items()} if layers & set(keep) else None
    if not isinstance(what, Result) or not layers or {t.kind for t in what.targets} != {"experts"}:
        return None
    return {name: mask.nonzero()[:, 0].tolist() for name, mask in what.units.items()}


def _fewer_experts(
    what: Result | nn.Module, stock: nn.Module, keep: dict[str, list[int]], example: Any
) -> Shrunk:
    """Experts taken out; what has to be equal is the network whose routers pass them by."""
    args, kwargs = arguments(example)
    small, edits = fewer_experts(stock, keep)
    with passed_by(stock, keep):
        error = gap(stock, small, args, kwargs)
    counts = {mixture.experts: mixture.count for mixture in mixtures(stock)}
    record = {
        "level": "B" if edits.attributes else "A",
        "proof": {"error": error, "effect": gap(stock, small, args, kwargs)},
        "error": 0.0,
        "exact": False,
        "difference": gap(what.model if isinstance(what, Result) else stock, small, args, kwargs),
        "parameters": [sum(p.numel() for p in m.parameters()) for m in (stock, small)],
        "units": {name: [len(units), counts[name]] for name, units in keep.items()},
        "attributes": [str(change) for change in edits.attributes],
    }
    record |= {"pruning": what.record} if isinstance(what, Result) else {}
    if error > 1e-4:
        raise ProofError(
            f"the network without the experts differs by {error:.1e} from the one whose routers pass "
            "them by; its routers choose in a way that is not known here"
        )
    _remember(stock, small, edits, example)
    return Shrunk(small, {n: tuple(u) for n, u in keep.items()}, record, edits)


def _outputs(what: Result | nn.Module, outputs: Chosen) -> tuple[str, ...] | None:
    """The outputs asked for, or else those a result's structure was found for."""
    if outputs is None and isinstance(what, Result):
        structure = Recipe.from_plain(what.record["recipe"]).structure
        outputs = structure.outputs if isinstance(structure, Coupled) else ()
        return tuple(outputs) or None
    return chosen(outputs)


def _without_masks(model: nn.Module) -> nn.Module:
    """A copy that nothing holds at zero any more; its weights are as they were."""
    stock = copy.deepcopy(model)
    HardMasks.of(stock).remove()
    return stock


Plan = dict[Axis, list[int]]


def _plan(
    what: Result | nn.Module,
    keep: Mapping[str, Sequence[int]] | None,
    traced: Trace,
    model: nn.Module,
) -> Plan:
    """The units that stay of every axis that loses some; an axis that would lose all is refused."""
    every = {axis.name: axis for axis in traced.axes}
    if keep is not None:
        asked = {_axis(every, name): sorted(set(units)) for name, units in keep.items()}
    elif isinstance(what, Result) and all(t.name in every for t in what.targets):
        asked = {every[n]: mask.nonzero()[:, 0].tolist() for n, mask in what.units.items()}
    else:
        asked = _by_zeros(traced, model)
    for axis, units in asked.items():
        if not units:
            raise PlanError(
                f"'{axis.name}' would lose all of its {axis.units} units; at least one must stay. "
                "Raise the density, set a floor, or use scope 'tensor'"
            )
    return {axis: units for axis, units in asked.items() if len(units) < axis.units}


def _axis(every: Mapping[str, Axis], name: str) -> Axis:
    if name not in every:
        raise unknown("structure", name, every)
    return every[name]


def _by_zeros(traced: Trace, model: nn.Module) -> Plan:
    """Units that own a parameter that is not zero, for the axes on by default that go exactly."""
    axes = [axis for axis in traced.axes if axis.default and axis.exact]
    targets = coupled_targets(traced, model, axes)
    parameters = dict(model.named_parameters())
    return {axis: _alive(target, parameters) for axis, target in targets.items()}


def _alive(target: Target, parameters: Mapping[str, Tensor]) -> list[int]:
    parts = [m.layout.matrix(parameters[m.param].detach()) != 0 for m in target.members]
    return torch.stack([part.any(1) for part in parts]).any(0).nonzero()[:, 0].tolist()


def _masked(model: nn.Module, targets: Mapping[Axis, Target], plan: Plan) -> nn.Module:
    """A copy with zeros for what goes."""
    masks = {axis.name: torch.zeros(axis.units, dtype=torch.bool) for axis in plan}
    for axis, units in plan.items():
        masks[axis.name][units] = True
    return Masks().apply(copy.deepcopy(model), tuple(targets.values()), masks)


def _read(traced: Trace) -> Callable[[Any], list[Tensor]]:
    """The outputs that keep their sizes; all, where parts were traced and the whole is compared."""
    captured = traced.inference.captured
    return captured.outputs.floats if captured.parts is None else floats


def _record(traced: Trace, model: nn.Module, plan: Plan, removal: Removal) -> dict[str, Any]:
    kept = {axis.var: np.asarray(units) for axis, units in plan.items()}
    return {
        "level": removal.level,
        "proof": {"error": removal.proof.error, "effect": removal.proof.effect},
        "error": removal.error,
        "parameters": [sum(p.numel() for p in m.parameters()) for m in (model, removal.module)],
        "macs": [traced.macs(), traced.macs(kept)],
        "units": {axis.name: [len(units), axis.units] for axis, units in plan.items()},
        "free_batch": traced.inference.captured.dynamic,
        "attributes": [str(change) for change in removal.changes],
        "replaced": list(removal.replaced),
        "failed": dict(removal.failed),
    }


def measure(
    model: nn.Module, example: Any, against: nn.Module | None = None, **options: Any
) -> Measured | Comparison:
    """Parameters, MACs, bytes and memory of a model; against another also latency and a verdict.

    The package `secateur.measure` goes by the same name: `from secateur.measure.macs import …`
    works as ever, while `secateur.measure(…)` is this function.

    Args:
        model: the model to judge.
        example: a tensor, a tuple of arguments or a dict of keywords.
        against: the reference, usually the dense network.
        options: `masks` of one model; batch_sizes, threads, runtimes, pairs, … of a comparison, as
            in `secateur.measure.report.compare`.
    """
    if against is None:
        return _measure(model, example, **options)
    names = options.pop("names", ("reference", "model"))
    return _compare(against, model, example, names=names, **options)
