"""Networks that cannot be traced whole: the submodules that can are traced, each on what it is given.

forward of the network: cannot be followed (control flow on values, numpy, …)
├── features   traced: its own inputs and outputs keep their sizes, what is inside may go
├── router     cannot be traced either
│   └── mlp    traced
└── head       one layer: nothing inside
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from secateur.structure.graph.deadline import Deadline
from secateur.structure.graph.errors import OutOfTime, ValuesNeeded
from secateur.structure.graph.export import EXPORT_FAILURES, export, said

Call = tuple[tuple[Any, ...], dict[str, Any]]
MOST_CALLS = 8
"""Calls of one submodule that differ in shape; what is called in more ways is not traced."""


@dataclass(frozen=True)
class Part:
    """A submodule that can be traced, and the calls it is traced on."""

    name: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Parts:
    """What of a network can be traced.

    Attributes:
        parts: none inside another.
        why: module that could not be traced -> why.
        outside: modules of a part that are also called from outside it; their tensors stay whole.
    """

    parts: tuple[Part, ...]
    why: Mapping[str, str]
    outside: frozenset[str]

    @property
    def inputs(self) -> list[tuple[Call, ...]]:
        """The example the network takes while it is `running`."""
        return [part.calls for part in self.parts]

    def holds(self, name: str) -> bool:
        """Whether a parameter or module lies in a part."""
        return any(within(name, part.name) for part in self.parts)

    def reason(self, name: str) -> str:
        """Why a parameter outside all parts is not traced: what its innermost such module says."""
        known = [module for module in self.why if not module or within(name, module)]
        return self.why[max(known, key=len)]

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """For this time, the network's forward runs its parts one by one on their own inputs."""
        own = model.__dict__.get("forward")
        names = [part.name for part in self.parts]

        def forward(calls: list[tuple[Call, ...]]) -> list[Any]:
            modules = [model.get_submodule(name) for name in names]
            return [
                module(*args, **kwargs)
                for module, given in zip(modules, calls, strict=True)
                for args, kwargs in given
            ]

        model.__dict__["forward"] = forward
        try:
            yield
        finally:
            del model.__dict__["forward"]
            if own is not None:
                model.__dict__["forward"] = own


def within(name: str, module: str) -> bool:
    """Whether a dotted name is a module or lies inside it.

    >>> within("layer1.0.conv", "layer1"), within("layer10", "layer1")
    (True, False)
    """
    return name == module or name.startswith(f"{module}.")


@dataclass
class _Seen:
    """One run of a network: how each module was called, and from within which modules."""

    calls: dict[str, dict[Any, Call]] = field(default_factory=dict)
    within: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.within.setdefault(name, []).append(frozenset(self.running))
        self.calls.setdefault(name, {}).setdefault(_signature(args, kwargs), (args, kwargs))
        self.running.append(name)


def _signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Equal for calls that give the same graph."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    return spec, tuple(
        (tuple(v.shape), v.dtype) if isinstance(v, Tensor) else repr(v) for v in leaves
    )


def watch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Seen:
    """Run a network once and note what each of its modules is given."""
    seen = _Seen()
    handles = []
    for name, module in model.named_modules():
        handles += [
            module.register_forward_pre_hook(
                lambda _, a, k, name=name: seen.enter(name, a, k), with_kwargs=True
            ),
            module.register_forward_hook(lambda *_: seen.running.pop() and None),
        ]
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def cover(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: Exception,
    clock: Deadline,
) -> Parts:
    """The largest submodules that can be traced, in a network that cannot (`error` says why).

    They are found by running it, which a network without weights need not be able to do.
    """
    try:
        seen = watch(model, args, kwargs)
    except EXPORT_FAILURES as failed:
        if not any(tensor.is_meta for tensor in model.parameters()):
            raise
        raise ValuesNeeded(
            f"{type(model).__name__} cannot be traced without its weights: {said(error)}. Remedy: read "
            "the model with its weights"
        ) from failed
    why = {"": f"{type(model).__name__} cannot be traced: {said(error)}"}
    parts: list[Part] = []
    waiting = [("", model)]
    while waiting:
        above, module = waiting.pop()
        for name, child in _children(above, module):
            calls = tuple(seen.calls.get(name, {}).values())
            reason = _untraceable(name, child, calls, clock)
            if reason is None:
                parts.append(Part(name, calls))
            else:
                why |= {name: reason} if reason else {}
                waiting.append((name, child))
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    parts.sort(key=lambda part: order[part.name])
    return Parts(tuple(parts), why, _called_from_outside(parts, seen))


def _children(above: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(f"{above}.{n}".lstrip("."), child) for n, child in module.named_children()]


def _untraceable(
    name: str, module: nn.Module, calls: tuple[Call, ...], clock: Deadline
) -> str | None:
    """Why a submodule is no part; empty where it alone is nothing to trace."""
    matrices = sum(p.dim() > 1 for p in module.parameters())
    if not calls or matrices < 2:  # one matrix between frozen sides: nothing can go
        return ""
    if len(calls) > MOST_CALLS:
        return f"'{name}' is called in {len(calls)} ways"
    try:
        clock.check()
        for args, kwargs in calls:
            export(module, args, kwargs, dynamic=False)
    except (*EXPORT_FAILURES, OutOfTime) as error:
        return f"{type(module).__name__} '{name}' cannot be traced: {said(error)}"
    return None


def _called_from_outside(parts: list[Part], seen: _Seen) -> frozenset[str]:
    return frozenset(
        name
        for part in parts
        for name, stacks in seen.within.items()
        if name != part.name and within(name, part.name)
        if any(part.name not in stack for stack in stacks)
    )
