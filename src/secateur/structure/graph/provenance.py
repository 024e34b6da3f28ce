"""Where the integers of a captured graph come from: attributes of modules, and what the code made of them.

While a network is captured, the integers its modules and their configurations hold remember their place, and
so does what is computed from them:

    self.heads, self.config.hidden_size              a `Place`
    self.heads * self.width + 2 * other              a `Made`, which can be worked out again

Every call of torch that is given such an integer marks the nodes it makes, so that an argument of the graph
can be led back to the attributes behind it.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import fx, nn
from torch.fx import traceback as marks
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.overrides import TorchFunctionMode

MARK = "secateur"


@dataclass(frozen=True)
class Place:
    """An integer of an object: a module, or a configuration that modules hold."""

    owner: int  # id of the object, which outlives the capture
    attribute: str
    index: int | None
    value: int


@dataclass(frozen=True, eq=False)
class Measured:
    """The size of a dimension, read off a tensor: it follows by itself."""

    value: int
    dim: int | None


@dataclass(frozen=True)
class Made:
    """What arithmetic made of two sources."""

    how: Callable[[int, int], int]
    left: Source
    right: Source


Source: TypeAlias = "Place | Measured | Made | int"
Equal: TypeAlias = "set[tuple[Place, int]]"


def worked_out(source: Source, values: Mapping[Place, int]) -> int | None:
    """The integer when places have other values; None where it was measured, or cannot be."""
    if isinstance(source, int):
        return source
    if isinstance(source, Place):
        return values.get(source, source.value)
    if isinstance(source, Measured):
        return None
    left, right = worked_out(source.left, values), worked_out(source.right, values)
    if left is None or right is None:
        return None
    try:
        return source.how(left, right)
    except (ZeroDivisionError, ValueError):
        return None


def places(source: Source) -> list[Place]:
    """Every place an integer comes from, in order of reading."""
    if isinstance(source, Made):
        return list(dict.fromkeys([*places(source.left), *places(source.right)]))
    return [source] if isinstance(source, Place) else []


def measured(source: Source | None) -> bool:
    """Whether the size of a tensor is part of it."""
    if isinstance(source, Made):
        return measured(source.left) or measured(source.right)
    return isinstance(source, Measured)


class Held(int):
    """An integer that remembers its source; `equal` takes down the places found equal to a measured size."""

    source: Source
    equal: Equal | None

    @classmethod
    def of(cls, value: int, source: Source, equal: Equal | None = None) -> Held:
        """`value`, from `source`."""
        held = cls(value)
        held.source, held.equal = source, equal
        return held

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int):
            return NotImplemented
        if int(self) == int(other) and isinstance(other, Held):
            self._note(other)
            other._note(self)
        return int(self) == int(other)

    def _note(self, size: Held) -> None:
        measure = size.source
        if self.equal is None or not isinstance(self.source, Place):
            return
        if isinstance(measure, Measured) and measure.dim is not None:
            self.equal.add((self.source, measure.dim))

    def __ne__(self, other: object) -> bool:
        same = self.__eq__(other)
        return same if same is NotImplemented else not same


def _source(value: Any) -> Source | None:
    if isinstance(value, Held):
        return value.source
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _arithmetic(how: Callable[[int, int], int], swapped: bool) -> Callable[[Held, Any], Any]:
    def method(self: Held, other: Any) -> Any:
        a, b = (other, self) if swapped else (self, other)
        if isinstance(other, torch.SymInt):
            return how(*(int(v) if isinstance(v, Held) else v for v in (a, b)))
        left, right = _source(a), _source(b)
        if left is None or right is None:
            return NotImplemented
        return Held.of(how(int(a), int(b)), Made(how, left, right))

    return method


for _how, _name in (
    (operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"),
    (operator.floordiv, "floordiv"), (operator.mod, "mod"),
):  # fmt: skip
    setattr(Held, f"__{_name}__", _arithmetic(_how, swapped=False))
    setattr(Held, f"__r{_name}__", _arithmetic(_how, swapped=True))


def is_settings(value: Any) -> bool:
    """Whether an object is a configuration: plain attributes that its code reads sizes from."""
    if dataclasses.is_dataclass(value):
        return not isinstance(value, type) and not value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return isinstance(value, SimpleNamespace) or hasattr(type(value), "to_dict")


@dataclass
class Provenance:
    """What was given to the calls that made the nodes of a graph.

    Attributes:
        given: node -> the integers given to its call: those on their own, and each list of them.
        modules: id -> path of a module.
        settings: id -> (path of a module, attribute) of every place that holds the configuration.
        equal: attributes that the code compared with the size of a dimension, by its number.
    """

    given: dict[fx.Node, list[list[Any]]] = field(default_factory=dict)
    modules: dict[int, str] = field(default_factory=dict)
    settings: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    equal: Equal = field(default_factory=set)

    def source(self, node: fx.Node, value: int, position: int | None, length: int) -> Source | None:
        """Where an integer argument comes from: by its position in a list, else the one of its value."""
        given = self.given.get(node, [])
        at = [group[position] for group in given if position is not None and len(group) == length]
        if at:
            held = at[0]
            return held.source if isinstance(held, Held) and held == value else None
        same = {v.source for group in given for v in group if isinstance(v, Held) and v == value}
        return same.pop() if len(same) == 1 else None

    def key(self, place: Place, path: list[str]) -> tuple[str, str] | None:
        """(module, attribute) of a place as the modules of `path`, innermost first, reach it."""
        if place.owner in self.modules:
            return self.modules[place.owner], place.attribute
        holders = dict(self.settings.get(place.owner, ()))
        name = next((name for name in path if name in holders), None)
        return None if name is None else (name, f"{holders[name]}.{place.attribute}")


class _Watching(TorchFunctionMode):
    """Marks the nodes of every call that is given integers which remember their source."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[list[Any]]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in MEASURE and get_proxy_mode() is not None:  # the network itself is running
            dim = [*args[1:], *(kwargs or {}).values()]
            return _measured(func(*args, **(kwargs or {})), dim[0] if dim else None)
        given = [*args, *(kwargs or {}).values()]
        if not any(isinstance(value, HOLDERS) for value in given):
            return func(*args, **(kwargs or {}))
        groups = _groups(given)
        if not any(isinstance(v, Held) for group in groups for v in group):
            return func(*args, **(kwargs or {}))
        self.calls.append(groups)
        with marks.annotate({MARK: len(self.calls) - 1}):
            return func(*args, **(kwargs or {}))


HOLDERS = (int, list, tuple, slice)
"""Types of arguments among which there may be integers with a source."""
MEASURE = (torch.Tensor.size, torch.Tensor.shape.__get__)  # type: ignore[attr-defined]


def _measured(size: Any, dim: Any) -> Any:
    """Sizes that remember they were measured."""
    if isinstance(size, torch.Size):
        return torch.Size(_measured(n, i) for i, n in enumerate(size))
    at = dim if isinstance(dim, int) and dim >= 0 else None
    return Held.of(size, Measured(size, at)) if type(size) is int else size


def _groups(arguments: list[Any]) -> list[list[Any]]:
    """The integers among the arguments of a call, then those of each list; symbolic ones as they are."""
    lists = [list(a) for a in arguments if isinstance(a, list | tuple)]
    return [_integers(arguments), *map(_integers, lists)]


def _integers(values: list[Any]) -> list[Any]:
    slices = [v for v in values if isinstance(v, slice)]
    bounds = [bound for v in slices for bound in (v.start, v.stop, v.step)]
    numbers = [v for v in (*values, *bounds) if isinstance(v, int | torch.SymInt)]
    return [v for v in numbers if not isinstance(v, bool)]


@contextmanager
def remembering(model: nn.Module) -> Iterator[Callable[[fx.Graph], Provenance]]:
    """For this time integers remember their place; yields what reads the provenance off a graph."""
    found, watching = Provenance(), _Watching()

    def read(graph: fx.Graph) -> Provenance:
        for node in graph.nodes:
            mark = (node.meta.get("custom") or {}).get(MARK)
            if mark is not None:
                found.given[node] = watching.calls[mark]
        forget(graph)
        return found

    with ExitStack() as stack:
        for name, module in model.named_modules():
            found.modules[id(module)] = name
            _hold(module, stack, found.equal)
            for attribute, value in list(vars(module).items()):
                _settings(found, stack, name, attribute, value)
        stack.enter_context(marks.preserve_node_meta())
        stack.enter_context(watching)
        yield read


def forget(graph: fx.Graph) -> None:
    """Take the marks off again, with others that tracing leaves beside them."""
    for node in graph.nodes:
        node.meta.pop("custom", None)


def _settings(found: Provenance, stack: ExitStack, module: str, attribute: str, value: Any) -> None:
    """Note a configuration and those inside it."""
    if isinstance(value, nn.Module) or not hasattr(value, "__dict__") or not is_settings(value):
        return
    if id(value) not in found.settings:
        _hold(value, stack, found.equal)
    found.settings.setdefault(id(value), []).append((module, attribute))
    for name, inner in list(vars(value).items()):
        if inner is not value and attribute.count(".") < 2:
            _settings(found, stack, module, f"{attribute}.{name}", inner)


def _hold(owner: Any, stack: ExitStack, equal: Equal) -> None:
    """Let the integers of an object remember their place, and put them back afterwards."""
    before = {}
    for name, value in list(vars(owner).items()):
        held = None if name.startswith("_") else _held(id(owner), name, value, equal)
        if held is not None:
            before[name], vars(owner)[name] = value, held
    stack.callback(_put_back, owner, before)


def _put_back(owner: Any, before: Mapping[str, Any]) -> None:
    """The very objects of before, and plain integers in what was computed and kept while it ran."""
    for name, value in list(vars(owner).items()):
        if name in before and value == before[name]:
            vars(owner)[name] = before[name]
        elif isinstance(value, Held):
            vars(owner)[name] = int(value)
        elif type(value) in (list, tuple) and any(isinstance(v, Held) for v in value):
            plain = (int(v) if isinstance(v, Held) else v for v in value)
            vars(owner)[name] = type(value)(plain)


def _held(owner: int, name: str, value: Any, equal: Equal) -> Any:
    if type(value) is int:
        return Held.of(value, Place(owner, name, None, value), equal)
    if type(value) in (list, tuple) and any(type(v) is int for v in value):
        kept = (
            Held.of(v, Place(owner, name, i, v), equal) if type(v) is int else v
            for i, v in enumerate(value)
        )
        return type(value)(kept)
    return None
