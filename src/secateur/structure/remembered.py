"""Traces remembered as long as their network lives, for whoever takes structures out of it next.

A trace is handed on with every tensor taken anew from the network that is given then, and only where its
likeness is what it was (`likeness`): weights may have been trained in between, nothing else may have changed.
What is kept holds no weights and keeps no network alive.

The newest traces of networks without weights are remembered beyond that: a plan and the run that follows
it build the same network anew.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from .graph import Trace
from .graph.capture import twins_of
from .graph.infer import overlapping
from .likeness import Opaque, likeness

LARGEST_CONSTANT = 1 << 16
"""Elements that the constants of a graph, which no parameter or buffer holds, may have together."""

Outputs = Sequence[str] | None


@dataclass(frozen=True)
class _Known:
    """A trace without tensors.

    Attributes:
        trace: what was found.
        names: the tensors its graph reads; `constants` are those that the code itself makes.
        twins: as in `Captured`.
        asked: the outputs that were chosen.
        likeness: of the network and the example.
    """

    trace: Trace
    names: tuple[str, ...]
    constants: Mapping[str, Tensor]
    twins: Mapping[str, tuple[str, ...]]
    asked: Outputs
    likeness: Any


_KNOWN: dict[int, tuple[weakref.ref[nn.Module], _Known]] = {}
"""id of a network -> its newest trace, for as long as it lives."""

_WEIGHTLESS: deque[_Known] = deque(maxlen=8)
"""The newest traces of networks whose tensors have shapes alone, so that equal likeness is all there is."""


def remembering(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    outputs: Outputs,
    trace: Callable[[], Trace],
) -> Trace:
    """What `trace` finds in `model`, remembered where a later network can be told to be the same."""
    forget(model)
    before = _likeness(model, args, kwargs)
    weightless = before is not None and all(t.is_meta for t in _tensors(model).values())
    for known in list(_WEIGHTLESS) if weightless else []:
        if known.asked == _chosen(outputs) and known.likeness == before:
            again = _rebound(known, model)
            if again is not None:
                _keep(model, known)
                return again
    found = trace()
    if before is not None and before == _likeness(model, args, kwargs):
        fresh = _known(found, model, outputs, before)
        if fresh is not None:
            _keep(model, fresh)
            if weightless:
                _WEIGHTLESS.append(fresh)
    return found


def _keep(model: nn.Module, known: _Known) -> None:
    """For as long as the network lives."""
    key = id(model)
    _KNOWN[key] = (weakref.ref(model, lambda _: _KNOWN.pop(key, None)), known)


def forget(model: nn.Module) -> None:
    """Let a network be traced anew."""
    _KNOWN.pop(id(model), None)


def recalled(
    model: nn.Module,
    stock: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    outputs: Outputs,
) -> Trace | None:
    """The trace of `model` as one of `stock`, where it is certain that tracing it gives the same.

    Args:
        model: the network that was traced.
        stock: the same, or a copy of it: its tensors are the trace's.
        args, kwargs: the example.
        outputs: as they were chosen.
    """
    owner, known = _KNOWN.get(id(model), (None, None))
    if owner is None or known is None or owner() is not model or _chosen(outputs) != known.asked:
        return None
    if known.likeness != _likeness(stock, args, kwargs):
        return None
    return _rebound(known, stock)


def _likeness(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """None where a network cannot be told from another, or is none."""
    if not isinstance(model, nn.Module):
        return None
    try:
        return likeness(model, tuple(args), dict(kwargs))
    except Opaque:
        return None


def _chosen(outputs: Outputs) -> Outputs:
    return None if outputs is None else tuple(outputs)


def _known(found: Trace, model: nn.Module, outputs: Outputs, seen: Any) -> _Known | None:
    """A trace without what belongs to the network; None where it depends on more than can be compared."""
    captured = found.inference.captured
    own = _tensors(model)
    constants = {name: t for name, t in captured.tensors.items() if name not in own}
    tied = any(set(captured.twins[name]) & set(own) for name in constants)
    large = sum(t.numel() for t in constants.values()) > LARGEST_CONSTANT
    held = any(list(region.parameters()) for region in captured.regions.values())
    budget = any(event.kind == "budget" for event in found.events)
    if captured.parts is not None or tied or large or held or budget:
        return None
    if any(overlapping(captured.tensors, captured.twins)):
        return None
    bare = replace(captured, tensors={}, twins={})
    trace = replace(found, inference=replace(found.inference, captured=bare))
    return _Known(trace, tuple(captured.tensors), constants, captured.twins, _chosen(outputs), seen)


def _rebound(known: _Known, stock: nn.Module) -> Trace | None:
    """The trace over the tensors of a network; None where they are not tied as they were."""
    own = _tensors(stock)
    if not all(name in own or name in known.constants for name in known.names):
        return None
    held = {name: known.constants.get(name, own.get(name)) for name in known.names}
    tensors = {name: t for name, t in held.items() if t is not None}
    twins = twins_of(stock, tensors)
    if twins != known.twins or any(overlapping(tensors, twins)):
        return None
    inference = known.trace.inference
    captured = replace(inference.captured, tensors=tensors, twins=twins)
    return replace(known.trace, inference=replace(inference, captured=captured))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
