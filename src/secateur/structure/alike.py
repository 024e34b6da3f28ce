"""Which layers of a network are equal: by what they are made of, and by the operators they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .depth import INDEX
from .example import arguments
from .graph.export import EXPORT_FAILURES, as_traced

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class Look:
    """What is compared of a layer; equal layers have equal looks.

    Attributes:
        parts: class, tensors and settings of each of its modules.
        run: what it is given, each operator it calls with its arguments, and what it returns, on
            the example. Tensors are numbered as they are met, so that this is the wiring, too.
    """

    parts: tuple[Any, ...]
    run: tuple[Any, ...]


def looks(model: nn.Module, example: Any, layers: Sequence[str]) -> dict[str, Look] | None:
    """Layer -> what it looks like, in the order in which they run; None where that cannot be seen.

    The network runs once on tensors without values, which takes no memory for them. A layer that
    runs twice or not at all, and a network that needs values to know its way, cannot be seen.

    Args:
        model, example: on the meta device.
        layers: paths of modules.
    """
    recorder = _Recorder({model.get_submodule(name): name for name in layers})
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    args, kwargs = pytree.tree_map_only(Tensor, fake.from_tensor, arguments(example))
    try:
        with torch.no_grad(), as_traced(model), recorder.watching(), fake, recorder:
            model(*args, **kwargs)
    except EXPORT_FAILURES:
        return None  # values decide its way: whoever asked traces the network as a whole
    if sorted(recorder.order) != sorted(layers):
        return None
    return {
        name: Look(_parts(model.get_submodule(name), name), tuple(recorder.seen[name].events))
        for name in recorder.order
    }


def _parts(layer: nn.Module, name: str) -> tuple[Any, ...]:
    key = name.rpartition(".")[2]
    place = int(key) if key.isdecimal() else None
    return tuple(
        (path, type(module), *_settings(module, place), *_tensors(module))
        for path, module in layer.named_modules()
    )


def _settings(module: nn.Module, place: int | None) -> Iterator[tuple[str, Any]]:
    """Attributes that are no tensors and no modules; one that holds the layer's place says so."""
    for name, value in vars(module).items():
        if name not in _OF_EVERY_MODULE:
            numbers = type(value) is int and value == place and INDEX.search(name)
            yield name, "its place" if numbers else _comparable(value)


def _comparable(value: Any) -> Any:
    """A value that equal settings share; objects are equal to themselves only."""
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_comparable, value))
    if isinstance(value, dict):
        return dict, tuple((key, _comparable(v)) for key, v in value.items())
    if isinstance(value, partial):
        return partial, *map(_comparable, (value.func, value.args, value.keywords))
    return type(value), id(value)


def _tensors(module: nn.Module) -> Iterator[tuple[Any, ...]]:
    for held in (module._parameters, module._buffers):
        for name, tensor in held.items():
            yield (name, None) if tensor is None else (name, *_kind(tensor), tensor.requires_grad)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype


@dataclass
class _Seen:
    """One layer while it runs."""

    names: dict[int, Any]
    events: list[Any] = field(default_factory=list)
    held: list[Tensor] = field(default_factory=list)

    def note(self, what: Any, *values: Any) -> None:
        """Something that happened, and the values that it happened with."""
        leaves, spec = pytree.tree_flatten(values)
        self.events.append((what, str(spec), tuple(map(self._told, leaves))))

    def _told(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return type(value), str(value)
        if id(value) not in self.names:
            self.names[id(value)] = len(self.held)
            self.held.append(value)  # as long as it is held nothing else has its id
        return self.names[id(value)], *_kind(value)


class _Recorder(TorchDispatchMode):
    """Notes what happens in each of some layers."""

    def __init__(self, layers: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self._layers, self._now = dict(layers), list[_Seen]()
        self.order: list[str] = []
        self.seen: dict[str, _Seen] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # inside a layer
        out = func(*args, **(kwargs or {}))
        if self._now:
            self._now[-1].note(str(func), args, kwargs or {}, out)
        return out

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, a layer that is entered is noted until it is left."""
        hooks = []
        for layer in self._layers:
            hooks += [
                layer.register_forward_pre_hook(self._enter, with_kwargs=True),
                layer.register_forward_hook(self._leave),
            ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        name = self._layers[layer]
        own = {id(t): n for n, t in [*layer.named_parameters(), *layer.named_buffers()]}
        self.order.append(name)
        self.seen[name] = _Seen(dict(own))
        self._now.append(self.seen[name])
        self._now[-1].note("given", args, kwargs)

    def _leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        self._now.pop().note("returns", output)
