"""The smaller network, compared with the masked one before anybody sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.edits import Change, Edits
from ..core.errors import PlanError
from ..core.types import Target
from ..structure.config import Fit, fit_config, settings_as_changes
from ..structure.coupled import coupled_targets
from ..structure.depth import Depth
from ..structure.example import arguments, example_in_words
from ..structure.fewer_layers import fewer_layers, new_names, skipped
from ..structure.graph import Axis, Removal, Trace, remove
from ..structure.graph.capture import EXPORT_FAILURES
from ..structure.graph.culprit import first_module
from ..structure.graph.cuts import uneven
from ..structure.graph.errors import ProofError
from ..structure.graph.export import said
from ..structure.graph.proof import difference, floats, run
from ..structure.graph.remove import kept_units
from ..structure.graph.replay import replay, written
from ..structure.layers import layer_target
from ..structure.residual import Block
from ..structure.shared_config import share_config
from .asked import Plan
from .compared import TOLERANCE, from_masked, unlike_stock


@dataclass
class Made:
    """A smaller network on its way.

    Attributes:
        module: the network.
        kept, edits: as in `Shrunk`.
        lost: layers that are gone, by container.
        fit: what the configuration had to be told, and whether that is enough.
        traced, removal, plan: of the axes; None and empty where only layers went.
        facts: what the record says of the comparison.
    """

    module: nn.Module
    kept: dict[str, tuple[int, ...]]
    edits: Edits
    lost: tuple[Depth, ...] = ()
    fit: Fit = field(default_factory=Fit)
    traced: Trace | None = None
    removal: Removal | None = None
    plan: Plan = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def make(
    stock: nn.Module,
    traced: Trace | None,
    plan: Plan,
    layers: Mapping[str, bool],
    example: Any,
    norms: bool,
    double: bool,
) -> Made:
    """`stock` without units and layers.

    Args:
        stock: the network before, which is left alone.
        traced, plan: its axes and the units of them that stay.
        layers: layers that go -> whether masking them makes them the identity.
        example, norms, double: as `shrink` has them.
    """
    made = Made(stock, {}, Edits())
    if traced is not None:
        made = _fewer_units(stock, traced, plan, example, norms)
    if layers:
        made = _fewer_layers(made, list(layers), example)
    if made.edits.retrace is None:
        fit = fit_config(stock, made.module, sizes(made.edits), made.lost)
        tell_config(stock, made, fit, example)
    else:
        made.fit = Fit(why=f"level {made.edits.retrace.level}: it holds graphs{_uneven(made)}")
    outputs = run(made.module, *arguments(example))
    if not made.fit.why:
        made.fit = replace(made.fit, why=unlike_stock(made.module, outputs, example))
    every, masks = _masks(stock, made, layers)
    read = _read(traced)
    apart = from_masked(stock, every, masks, example, read, made.module if double else outputs)
    made.facts |= {"difference": apart, "exact": _is_exact(plan, layers, norms)}
    return made


def _uneven(made: Made) -> str:
    """What to do where code cuts into equal pieces what is not equally wide any more."""
    left = {axis.var: len(units) for axis, units in made.plan.items()}
    found = uneven(made.traced.inference, left) if made.traced is not None else None
    if found is None:
        return ""
    name = next(axis.name for axis in made.plan if axis.var is found)
    return (
        f" (code cuts '{name}' and what lies beside it into equal pieces, which are not equally wide any "
        "more; a method's even=True keeps them so)"
    )


def _fewer_units(stock: nn.Module, traced: Trace, plan: Plan, example: Any, norms: bool) -> Made:
    args, kwargs = arguments(example)
    removal = remove(traced, stock, plan, args, kwargs, preserve_norms=norms)
    retrace = None
    if removal.level in "CD":
        retrace = (removal.level, example_in_words(example), norms)
    edits = written(
        stock, traced.inference, plan, kept_units(plan), removal.changes, retrace, removal.folds
    )
    kept = {axis.name: tuple(units) for axis, units in plan.items()}
    facts: dict[str, Any] = {
        "proof": {"error": removal.proof.error, "effect": removal.proof.effect}
    }
    facts |= {"error": removal.error, "level": removal.level}
    return Made(removal.module, kept, edits, traced=traced, removal=removal, plan=plan, facts=facts)


def _fewer_layers(made: Made, names: list[str], example: Any) -> Made:
    """Layers out of a network that may have lost units already."""
    args, kwargs = arguments(example)
    if made.edits.retrace is not None:
        raise PlanError(
            f"units that go at level {made.edits.retrace.level} leave no list to take layers from; "
            "take the layers out first, in a call of their own"
        )
    small, edits, lost = fewer_layers(made.module, names)
    with skipped(made.module, names):
        try:
            got = floats(run(small, args, kwargs))
            error = difference(got, floats(run(made.module, args, kwargs)))
        except EXPORT_FAILURES as failure:
            raise PlanError(
                f"without {names} the network does not run, or not with the same outputs: "
                f"{said(failure)}; code around these layers counts on them: keep them"
            ) from failure
        if not error <= TOLERANCE:
            where = first_module(made.module, small, args, kwargs, new_names(made.module, lost))
            raise ProofError(
                f"the network without {names} differs by {error:.1e} from the one whose layers hand "
                f"on their input; they part at {where}"
            )
    effect = difference(got, floats(run(made.module, args, kwargs)))
    facts: dict[str, Any] = {"proof": {"error": error, "effect": effect}}
    facts |= {"error": 0.0, "level": "B" if edits.attributes else "A"}
    if made.removal is not None:
        first = made.facts["proof"]
        facts["proof"] = {k: max(v, facts["proof"][k]) for k, v in first.items()}
        facts["error"] = made.facts["error"]
        facts["level"] = max(made.facts["level"], facts["level"])
    attributes = (*made.edits.attributes, *edits.attributes)
    both = made.edits.model_copy(update={"attributes": attributes, "layers": edits.layers})
    made.module, made.edits, made.lost = small, both, lost
    made.kept |= dict.fromkeys(names, ())
    made.facts |= facts
    return made


def _is_number(change: Change) -> bool:
    return type(change.old) is type(change.new) and isinstance(change.old, int | float)


def sizes(edits: Edits) -> list[tuple[Any, Any]]:
    """(old, new) of every size that changed, and of every other number of a module."""
    cuts = [kept for dims in edits.tensors.values() for kept in dims.values()]
    numbers = [(c.old, c.new) for c in edits.attributes if _is_number(c)]
    return [(kept.size, kept.count) for kept in cuts] + numbers


def tell_config(stock: nn.Module, made: Made, fit: Fit, example: Any) -> None:
    """Write what fits into the new network, its configuration and the edits.

    Attributes of modules that nothing reads may still say an old size; they follow the configuration,
    and if something does read them after all, the configuration does not fit. A network without
    weights is not run: shapes and attributes alone are told, and whoever has the weights proves them.
    """
    if fit.why:  # no class builds it: what its modules say of themselves stays
        fit = replace(fit, stale=())
    settings = settings_as_changes(stock.config, fit.settings) if fit.settings else []
    late = _before_numbers(stock, made, fit.stale)
    told = (*settings, *fit.stale)
    runs = bool(fit.stale) and not any(p.is_meta for p in made.module.parameters())
    before = floats(run(made.module, *arguments(example))) if runs else []
    replay(made.module, Edits(attributes=told))
    if runs and not difference(floats(run(made.module, *arguments(example))), before) <= TOLERANCE:
        back = (c.model_copy(update={"old": c.new, "new": c.old}) for c in told)
        replay(made.module, Edits(attributes=tuple(back)))
        names = ", ".join(f"{c.module}.{c.attribute}" for c in fit.stale[:3])
        made.fit = Fit(why=f"its configuration would have {names} say other sizes than they do")
        return
    shared = share_config(stock, made.module, made.edits.attributes, settings, made.lost)
    attributes = _merged(shared, (*late, *settings))
    made.edits = made.edits.model_copy(update={"attributes": attributes})
    made.fit = fit


def _before_numbers(stock: nn.Module, made: Made, changes: Sequence[Change]) -> list[Change]:
    """Changes by the paths that modules had before layers were numbered anew."""
    back = {new: old for old, new in new_names(stock, made.lost).items() if new is not None}
    return [c.model_copy(update={"module": back.get(c.module, c.module)}) for c in changes]


def _merged(first: Sequence[Change], then: Sequence[Change]) -> tuple[Change, ...]:
    """One change for every attribute: from what it was before both to what it is after both."""
    out: dict[tuple[str, str], Change] = {}
    for change in (*first, *then):
        key = (change.module, change.attribute)
        old = out[key].old if key in out else change.old
        out[key] = change.model_copy(update={"old": old})
    return tuple(out.values())


def _masks(
    stock: nn.Module, made: Made, layers: Mapping[str, bool]
) -> tuple[tuple[Target, ...], dict[str, Tensor]]:
    """What went, as targets of `stock` and masks of them."""
    targets: dict[Axis, Target] = {}
    if made.traced is not None:
        targets = coupled_targets(made.traced, stock, list(made.plan))
    whole = [layer_target(stock, Block(name, exact)) for name, exact in layers.items()]
    every = (*targets.values(), *whole)
    masks = {t.name: torch.zeros(t.shape, dtype=torch.bool) for t in every}
    for axis, units in made.plan.items():
        masks[targets[axis].name][units] = True
    return every, masks


def _is_exact(plan: Plan, layers: Mapping[str, bool], norms: bool) -> bool:
    """Whether removing is masking for all that went; norms that keep the old count make it so."""
    return all(a.exact or (norms and a.mends) for a in plan) and all(layers.values())


def _read(traced: Trace | None) -> Callable[[Any], list[Tensor]]:
    """The outputs that keep their sizes; all, where only layers went or parts were traced."""
    captured = traced.inference.captured if traced is not None else None
    return captured.outputs.floats if captured is not None and captured.parts is None else floats
