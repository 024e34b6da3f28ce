"""A network with one layer of each kind, and what is found in it said of all equal layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import nn

from ..core.types import Target
from .alike import looks
from .by_layer import beside
from .coupled import trace_example
from .depth import COUNT, Depth, fewer
from .fewer_layers import fewer_layers, new_names
from .graph import Axis, Trace
from .graph.axes import Slice
from .graph.parts import within


@dataclass(frozen=True)
class OneOfEach:
    """A network that has one of every kind of layer.

    Attributes:
        model: it, without weights.
        layers: layer of the whole network -> the layer of `model` that is equal to it, in the order
            in which they run.
        example: what both run on.
    """

    model: nn.Module
    layers: dict[str, str]
    example: Any

    @cached_property
    def traced(self) -> Trace:
        """The axes of `model`."""
        return trace_example(self.model, self.example, "a network with one layer of each kind")

    def home(self, names: Sequence[str]) -> str | None:
        """The layer of `model` that all of these names lie in; None where there is none."""
        found = (own for own in set(self.layers.values()) if all(within(n, own) for n in names))
        return next(found, None)

    def rounds(self) -> Iterator[dict[str, str]]:
        """Layer of `model` -> a layer of the whole network, until each of those had its turn."""
        turns: dict[str, list[str]] = defaultdict(list)
        for layer, own in self.layers.items():
            turns[own].append(layer)
        for turn in range(max(map(len, turns.values()))):
            yield {own: every[turn] for own, every in turns.items() if turn < len(every)}

    def targets(self, found: Sequence[Target]) -> tuple[Target, ...] | None:
        """Targets of `model` as those of the whole network; None where one lies in no one layer."""
        homes = [self.home([t.name, t.layer, *(m.param for m in t.members)]) for t in found]
        if None in homes:
            return None
        return tuple(
            _target(target, own, layer)
            for layer, own in self.layers.items()
            for target, home in zip(found, homes, strict=True)
            if home == own
        )

    def axes(self, found: Sequence[Axis]) -> dict[Axis, str]:
        """Those axes of `model` that lie in one layer as axes of the whole network -> its layer."""
        homes = [self.home([a.name, *(m.tensor for m in a.members)]) for a in found]
        return {
            _axis(axis, own, layer): layer
            for layer, own in self.layers.items()
            for axis, home in zip(found, homes, strict=True)
            if home == own
        }

    def everywhere(self, found: Sequence[Axis]) -> tuple[Axis, ...]:
        """Axes of `model` as axes of the whole network; one of several layers runs through all like them."""
        inside = self.axes(found)
        return (
            *inside,
            *(
                replace(axis, members=tuple(part for s in axis.members for part in self._spread(s)))
                for axis in found
                if self.home([axis.name, *(m.tensor for m in axis.members)]) is None
            ),
        )

    def _spread(self, part: Slice) -> Iterator[Slice]:
        """A slice of a layer as that of every layer like it; one outside the layers as it is."""
        home = self.home([part.tensor])
        if home is None:
            yield part
            return
        for layer, own in self.layers.items():
            if own == home:
                yield replace(part, tensor=renamed(part.tensor, own, layer))


def renamed(name: str, old: str, new: str) -> str:
    """A name in one layer as that in another.

    >>> renamed("layers.0.mlp.up", "layers.0", "layers.7")
    'layers.7.mlp.up'
    """
    return new + name.removeprefix(old)


def _target(target: Target, own: str, layer: str) -> Target:
    members = tuple(replace(m, param=renamed(m.param, own, layer)) for m in target.members)
    name, home = renamed(target.name, own, layer), renamed(target.layer, own, layer)
    return replace(target, name=name, layer=home, members=members)


def _axis(axis: Axis, own: str, layer: str) -> Axis:
    members = tuple(replace(s, tensor=renamed(s.tensor, own, layer)) for s in axis.members)
    return replace(axis, name=renamed(axis.name, own, layer), members=members)


def one_of_each(model: nn.Module, example: Any, layers: Sequence[str]) -> OneOfEach | None:
    """The network with the first layer of each kind; None where that would not be the same.

    Two layers are of one kind only if all of `alike.Look` is equal, and what stays has to run in the
    smaller network as it did in the whole one. Layers that share a tensor with anything else are no
    layers to speak of one by one.

    Args:
        model, example: on the meta device; left alone.
        layers: paths of the layers, each in a list of modules.
    """
    found = looks(model, example, layers)
    if found is None or _share(model, layers):
        return None
    first: dict[Any, str] = {}
    like = {n: first.setdefault((n.rpartition(".")[0], look), n) for n, look in found.items()}
    gone = [name for name, kind in like.items() if kind != name]
    if not gone:
        return None
    small, _, lost = fewer_layers(model, gone)
    for depth in lost:
        _tell(small, depth)
    names = new_names(model, lost)
    now = {kind: names.get(kind) or kind for kind in like.values()}
    seen = looks(small, example, list(now.values()))
    if seen is None or any(seen[new].run != found[old].run for old, new in now.items()):
        return None
    return OneOfEach(small, {name: now[kind] for name, kind in like.items()}, example)


def _share(model: nn.Module, layers: Sequence[str]) -> bool:
    """Whether a layer holds a tensor that something outside of it holds, too."""
    owner: dict[int, str] = {}
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in named:
        home = next((layer for layer in layers if within(name, layer)), "")
        if owner.setdefault(id(tensor), home) != home:
            return True
    return False


def _tell(model: Any, depth: Depth) -> None:
    """Let the configuration, which is the smaller network's own, say what goes by layer of what stays."""
    config = getattr(model, "config", None)
    for part in (config, getattr(config, "text_config", None)):
        if part is None:
            continue
        held = part.to_dict()
        counts = {k: fewer(v, depth) for k, v in held.items() if COUNT.search(k)}
        for key, value in {**counts, **dict(beside(held, depth))}.items():
            if value is not None:
                setattr(part, key, value)
