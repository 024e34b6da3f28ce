"""The order in which a block's layers run: those that read the same values make a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...core.types import Target
from ..collect.entering import called_at, entering
from .blocks import Block
from .conductor import Conductor

Call = tuple[str, int]
"""The path of a layer that was called, and which of the values that entered layers it read."""


@dataclass(frozen=True)
class Stage:
    """Targets whose layers read the same values, and the paths of layers that run only after them."""

    targets: tuple[Target, ...]
    beyond: tuple[str, ...]


def stages(conductor: Conductor, block: Block, targets: tuple[Target, ...]) -> tuple[Stage, ...]:
    """The targets of a block in the order in which the first batch runs through their layers.

    Queries, keys and values are a stage, the output projection is the next, and so on; experts that
    are stacked in one module are one. Layers that the first batch does not reach come last.
    """
    weights: dict[str, str] = {}
    for target in targets:
        weights.setdefault(owner(target), target.members[0].param)
    calls = _calls(conductor, block, weights)
    order: dict[str, int] = {}
    for path, number in calls:
        order.setdefault(path, number)
    numbers = sorted(set(order.values())) or [0]
    at = {target.name: order.get(owner(target), numbers[-1]) for target in targets}
    return tuple(
        Stage(tuple(t for t in targets if at[t.name] == number), _beyond(calls, order, number))
        for number in numbers
    )


def owner(target: Target) -> str:
    """The path of the layer that a target's first member belongs to."""
    return target.members[0].param.rpartition(".")[0]


def _beyond(calls: list[Call], order: dict[str, int], number: int) -> tuple[str, ...]:
    """Layers that are first called after the last call of those of a stage."""
    last = max((i for i, (path, _) in enumerate(calls) if order[path] == number), default=0)
    before = {path for path, _ in calls[: last + 1]}
    return tuple(dict.fromkeys(path for path, _ in calls if path not in before))


def _calls(conductor: Conductor, block: Block, params: Mapping[str, str]) -> list[Call]:
    """What the first batch calls, in order; `params` has a weight of the layer at each path."""
    calls: list[Call] = []
    entered: list[tuple[Tensor | None, int]] = []  # the last one
    number = 0

    def noting(path: str, weight: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal number
            x = entering(layer, weight, args, kwargs)
            now = (x, 0 if x is None else x._version)  # None: of several inputs
            same = bool(entered) and entered[0][0] is x and entered[0][1] == now[1]
            number += not same
            entered[:] = [now]
            calls.append((path, number))

        return note

    with ExitStack() as stack:
        for path, param in params.items():
            layer, weight = called_at(conductor.model, param)
            hook = layer.register_forward_pre_hook(noting(path, weight), with_kwargs=True)
            stack.callback(hook.remove)
        next(conductor.outputs_of(block))
    return calls


@contextmanager
def stopping(module: nn.Module, paths: Iterable[str], stop: Callable[..., None]) -> Iterator[None]:
    """Inside, `stop` is called in front of the layers at these paths, and raises."""
    with ExitStack() as stack:
        for path in paths:
            hook = module.get_submodule(path).register_forward_pre_hook(stop)
            stack.callback(hook.remove)
        yield
