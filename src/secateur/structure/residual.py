"""Residual blocks found by what they do: the shape of the input, and the identity when weights are zero."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core.instead import call_with
from .graph.capture import as_traced
from .prunable import call

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Block:
    """A child of a `ModuleList` or `Sequential` that returns the shape it is given.

    Attributes:
        name: path of the module.
        identity: whether zeros in all of its parameters make it hand on its input.
        why: why not, where it does not.
    """

    name: str
    identity: bool
    why: str = ""


def residual_blocks(model: nn.Module, example: Any) -> tuple[Block, ...]:
    """The blocks a network can lose whole, in its order; nothing of the network is changed.

    Seen in one evaluation pass: a block runs once, shares no parameter with the rest, and returns
    nothing beside its result that later layers could read. In a `ModuleList` it stands beside
    others of its class, so that code goes through the list and does not know each by its place. Of
    blocks inside blocks the innermost count. Blocks that zero weights do not make an identity (BERT
    normalises after the sum) count where no such block is inside or around them.

    >>> class Add(nn.Linear):
    ...     def forward(self, x):
    ...         return x + super().forward(x)
    >>> net = nn.Sequential(nn.Linear(3, 4), Add(4, 4), Add(4, 4))
    >>> [(block.name, block.identity) for block in residual_blocks(net, torch.ones(2, 3))]
    [('1', True), ('2', True)]
    """
    watched = _Watch(_candidates(model))
    with torch.no_grad(), as_traced(model), watched:
        call(model, example)
    found = watched.blocks()
    exact = [b for b in found if b.identity]
    exact = [b for b in exact if not any(_inside(other.name, b.name) for other in exact)]
    compound = [b for b in found if not b.identity and any(model.get_submodule(b.name).children())]
    loose = [b for b in compound if not any(_related(b, e) for e in exact)]
    loose = [b for b in loose if not any(_inside(b.name, other.name) for other in loose)]
    chosen = {b.name: b for b in (*exact, *loose)}
    return tuple(chosen[name] for name in _candidates(model) if name in chosen)


def _inside(name: str, around: str) -> bool:
    return name.startswith(f"{around}.")


def _related(a: Block, b: Block) -> bool:
    return _inside(a.name, b.name) or _inside(b.name, a.name)


def _candidates(model: nn.Module) -> dict[str, nn.Module]:
    """Children of containers, with parameters that nothing outside shares."""
    uses = _uses(model)
    out = {}
    for path, container in model.named_modules():
        if isinstance(container, nn.ModuleList | nn.Sequential):
            for name, child in container.named_children():
                if _interchangeable(child, container) and _owns_its_weights(child, uses):
                    out[f"{path}.{name}".lstrip(".")] = child
    return out


def _interchangeable(child: nn.Module, container: nn.Module) -> bool:
    """Whether the code around a container goes through it in order, whatever stands in it."""
    if isinstance(container, nn.Sequential):
        return True
    kinds = [type(other) for other in container]  # type: ignore[attr-defined]
    return not isinstance(child, nn.ModuleList) and (
        len(kinds) == 1 or kinds.count(type(child)) > 1
    )


def _uses(model: nn.Module) -> dict[int, int]:
    """How many places hold each parameter."""
    out: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        out[id(parameter)] = out.get(id(parameter), 0) + 1
    return out


def _owns_its_weights(child: nn.Module, uses: Mapping[int, int]) -> bool:
    own = _uses(child)
    return bool(own) and all(uses[key] == count for key, count in own.items())


@dataclass
class _Watch:
    """Hooks on every candidate: how often it ran, what went in and out, what zeros would do."""

    modules: dict[str, nn.Module]
    given: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    zeroed: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, list[bool]] = field(default_factory=dict)
    busy: bool = False

    def __enter__(self) -> _Watch:
        self.handles = [
            handle
            for name, module in self.modules.items()
            for handle in (
                module.register_forward_pre_hook(self._before(name), with_kwargs=True),
                module.register_forward_hook(self._after(name)),
            )
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self.busy:
                self.given[name] = _telling((args, kwargs))
                self.busy = True
                zeros = {n: torch.zeros_like(p) for n, p in module.named_parameters()}
                inputs = pytree.tree_map(_copied, self.given[name])
                try:
                    with _unheard(module):
                        self.zeroed[name] = call_with(module, zeros, *inputs)
                except RuntimeError as error:
                    self.zeroed[name] = error
                finally:
                    self.busy = False

        return hook

    def _after(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not self.busy:
                x, y = _first(self.given[name]), _first(output)
                fits = x is not None and y is not None and x.shape == y.shape and x.dim() > 1
                self.seen.setdefault(name, []).append(fits)
                self.zeroed[name] = _why_not(self.given.pop(name), self.zeroed[name])

        return hook

    def blocks(self) -> list[Block]:
        """Candidates that ran once and kept the shape."""
        fits = [name for name, calls in self.seen.items() if calls == [True]]
        return [Block(name, not self.zeroed[name], self.zeroed[name]) for name in fits]


@contextmanager
def _unheard(module: nn.Module) -> Iterator[None]:
    """Nobody who collects outputs by hooks sees a call that is no part of the pass."""
    heard = {part: part._forward_hooks for part in module.modules()}
    for part in heard:
        part._forward_hooks = OrderedDict()
    try:
        yield
    finally:
        for part, hooks in heard.items():
            part._forward_hooks = hooks


def _telling(given: Any) -> Any:
    """A copy of what a block is given; a first tensor of one value, which any norm hands on, is drawn."""
    first = _first(given)
    if first is None or first.is_meta or bool((first != first.flatten()[:1]).any()):
        return pytree.tree_map(_copied, given)
    generator = torch.Generator().manual_seed(0)  # not negative: a ReLU hands it on
    drawn = torch.rand(first.shape, generator=generator, dtype=torch.float32).to(first)
    return pytree.tree_map(lambda v: drawn if v is first else _copied(v), given)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _floats(value: Any) -> Iterator[Tensor]:
    leaves = pytree.tree_leaves(value)
    return (t for t in leaves if isinstance(t, Tensor) and t.is_floating_point())


def _first(value: Any) -> Tensor | None:
    return next(_floats(value), None)


def _why_not(given: Any, zeroed: Any) -> str:
    """Why the outcome with zero weights is not the input; empty where it is."""
    if isinstance(zeroed, RuntimeError):
        return "does not run with zero weights"
    if not _same(_first(given), _first(zeroed)):
        return "zero weights do not hand on the input"
    if not all(any(_same(t, x) for x in _floats(given)) for t in _floats(zeroed)):
        return "later layers may read what it returns beside its result"
    return ""


def _same(x: Tensor | None, y: Tensor | None) -> bool:
    """Equal up to rounding; tensors without values are never known to be."""
    if x is None or y is None or x.shape != y.shape or x.is_meta:
        return False
    gap = float((x - y).abs().max()) if x.numel() else 0.0
    return gap <= TOLERANCE * max(float(x.abs().max()) if x.numel() else 0.0, 1e-6)
