"""`shrink`: structures out of a network, as ordinary modules where its code permits, and proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from ..artifact.source import before_pruning
from ..core.edits import Edits
from ..core.errors import PlanError, SecateurError
from ..core.network import plain_network
from ..core.origin import set_origin
from ..core.recipe import Recipe
from ..core.result import Result
from ..core.run_time import run_time_layers
from ..materialise import HardMasks
from ..materialise.guard import guards
from ..structure.config import has_config
from ..structure.coupled import Chosen, Coupled, chosen, trace_example
from ..structure.example import arguments, example_in_words
from ..structure.fewer_layers import new_names, twin
from ..structure.graph import Trace
from ..structure.graph.capture import EXPORT_FAILURES
from ..structure.remembered import recalled
from .asked import asked_for, plan_of
from .compared import TOLERANCE
from .experts import experts_asked, without_experts
from .follow import Followed, check_optimizer, follow, take_over
from .made import Made, make
from .record import describe
from .shrunk import Shrunk
from .stock import insist_on_stock


def shrink(
    what: Result | nn.Module,
    example: Any,
    *,
    keep: Mapping[str, Sequence[int]] | None = None,
    preserve_norms: bool = False,
    loadable: Literal["any", "stock"] = "any",
    in_place: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    float64: bool = False,
    outputs: Chosen = None,
) -> Shrunk:
    """Take structures physically out, and prove that the smaller network computes the same.

    Args:
        what: a result of structural pruning, or a network. Of a network go the units whose every
            parameter is zero, or those that `keep` does not name.
        example: as for `trace`. Where the record says level C or D, the batch size is free only when
            the example has two samples or more.
        keep: structure -> numbers of the units that stay (none: a layer that goes); the network is
            left unmasked otherwise.
        preserve_norms: let normalisations over a removed axis divide by the old count.
        loadable: `stock` refuses what the stock class cannot build from its configuration.
        in_place: edit the network that was given and return it; otherwise a copy is made.
        optimizer: one over the network's parameters; it goes on with the smaller network's, its
            moments cut with them.
        outputs: as for `trace`; by default those the result was pruned for.
        float64: compare the delivered network in float64 too (the proof always is).

    Removal is exact where masking was: at least one unit of every structure stays. On any error
    network and optimiser are as they were.

    >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> shrink(net, torch.zeros(2, 3), keep={"0": [1, 2, 5]}).model[0]
    Linear(in_features=3, out_features=3, bias=True)
    """
    what = plain_network(what) if isinstance(what, nn.Module) else what
    model = what.model if isinstance(what, Result) else what
    _check(model, loadable)
    stock = without_masks(model) if in_place or any(guards(model)) else model
    experts = experts_asked(what, keep)
    made = (
        without_experts(what, stock, experts, example)
        if experts is not None
        else _made(what, stock, keep, example, preserve_norms, float64, _outputs(what, outputs))
    )
    if loadable == "stock":
        insist_on_stock(stock, made, example, preserve_norms)
    record = describe(stock, made) | ({"pruning": what.record} if isinstance(what, Result) else {})
    followed = Followed(model, made, new_names(stock, made.lost))
    check_optimizer(optimizer, followed)
    small = take_over(model, made) if in_place else made.module
    became = follow(optimizer, followed, small)
    record |= {} if optimizer is None else {"optimizer": became}
    _remember(stock, small, made.edits, example)
    return Shrunk(small, made.kept, record, made.edits)


def _made(
    what: Result | nn.Module,
    stock: nn.Module,
    keep: Any,
    example: Any,
    norms: bool,
    double: bool,
    outputs: tuple[str, ...] | None,
) -> Made:
    asked = asked_for(what, keep, stock, example)
    if not asked.traces:
        return make(stock, None, {}, asked.layers, example, norms, double)

    def made(traced: Trace) -> Made:
        plan = plan_of(asked, traced, stock)
        return make(stock, traced, plan, asked.layers, example, norms, double)

    model = what.model if isinstance(what, Result) else what
    known = recalled(model, stock, *arguments(example), outputs)
    found = _made_from(known, made) if known is not None else None
    return found or made(trace_example(stock, example, "shrink", outputs))


def _made_from(known: Trace, made: Callable[[Trace], Made]) -> Made | None:
    """What is made from a trace that is remembered; None where the network has to be traced again.

    At levels A and B the network's own code runs in what is delivered: there a trace that was no
    longer true would show. Errors are told from a trace of the network as it is.
    """
    try:
        out = made(known)
    except (SecateurError, *EXPORT_FAILURES):
        return None
    facts = out.facts
    agrees = not facts["exact"] or facts["difference"] <= TOLERANCE
    return out if facts["level"] in "AB" and agrees else None


def _outputs(what: Result | nn.Module, outputs: Chosen) -> tuple[str, ...] | None:
    """The outputs asked for, or else those a result's structure was found for."""
    if outputs is None and isinstance(what, Result):
        structure = Recipe.from_plain(what.record["recipe"]).structure
        outputs = structure.outputs if isinstance(structure, Coupled) else ()
        return tuple(outputs) or None
    return chosen(outputs)


def _check(model: nn.Module, loadable: str) -> None:
    """What cannot be shrunk at all, before any work."""
    if found := next(iter(run_time_layers(model)), None):
        raise PlanError(
            f"'{found}' decides for every input what it leaves out and needs all of its weights: nothing can "
            "be taken out. Save the network as it is, or shrink it before it gets such layers"
        )
    places: dict[str, str] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        places.setdefault(str(tensor.device), name)
    if len(places) > 1:
        listed = ", ".join(f"'{name}' on {place}" for place, name in sorted(places.items()))
        raise PlanError(
            f"the network lies on several devices ({listed}); shrink it on one: model.to('cpu')"
        )
    if loadable not in ("any", "stock"):
        raise PlanError(f"loadable is 'any' or 'stock', not {loadable!r}")
    if loadable == "stock" and not has_config(model):
        raise PlanError(
            f"loadable='stock' speaks of classes built from a configuration; {type(model).__name__} "
            "has none, leave it out"
        )


def without_masks(model: nn.Module) -> nn.Module:
    """A copy that nothing holds at zero any more; its weights are as they were."""
    stock = twin(model)
    HardMasks.of(stock).remove()
    return stock


def _remember(stock: nn.Module, small: nn.Module, edits: Edits, example: Any) -> None:
    """The smaller network has the history of the stock one and these edits."""
    before = before_pruning(stock, example_in_words(example))
    set_origin(small, before.model_copy(update={"edits": (*before.edits, edits)}))
