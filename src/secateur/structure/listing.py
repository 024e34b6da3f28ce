"""Coupled structures as a list that prints itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from .graph import Axis, Trace
from .graph.axes import Frozen, Slice, macs_of
from .graph.infer import INTO_PART, OUT_OF_PART, layer_of
from .graph.parts import within
from .residual import Block
from .table import Row, table, together

EXPECTED = ("user input", "user output", "convolution window", INTO_PART, OUT_OF_PART)
"""Reasons nobody wonders about: shown with everything else only when all is asked for."""

SHOWN = 4
"""How many names a line gives before it counts the rest."""


@dataclass(frozen=True)
class Layer:
    """A residual block that may go whole, as structure `layers` takes it.

    Attributes:
        name: path of the module.
        exact: whether with all weights zero it hands on its input.
        why: why not.
        tensors, parameters, macs: what it takes along; multiplications at the example.
    """

    name: str
    exact: bool
    why: str
    tensors: int
    parameters: int
    macs: int


def layers_of(found: Trace, model: nn.Module, blocks: Iterable[Block]) -> tuple[Layer, ...]:
    """Blocks with what they cost."""
    macs: dict[str, int] = defaultdict(int)
    for cost in found.inference.costs:
        macs[layer_of(cost.node)] += macs_of([cost])
    out = []
    for block in blocks:
        held = list(model.get_submodule(block.name).parameters())
        inside = sum(n for layer, n in macs.items() if within(layer, block.name))
        size = sum(p.numel() for p in held)
        out.append(Layer(block.name, block.identity, block.why, len(held), size, inside))
    return tuple(out)


class Structures(tuple[Axis, ...]):
    """What `secateur.trace` found: a tuple of axes; as text, a table and what was frozen.

    Attributes:
        trace: the full trace behind it, with terms and events.
        layers: residual blocks that may go whole; none where the weights have no data.
        unlisted: why layers could not be looked for, where they could not.
    """

    trace: Trace
    layers: tuple[Layer, ...]
    unlisted: str

    def __new__(cls, found: Trace, layers: Sequence[Layer] = (), unlisted: str = "") -> Structures:
        """The axes of a trace, and the layers beside them."""
        made = super().__new__(cls, found.axes)
        made.trace = found
        made.layers = tuple(layers)
        made.unlisted = unlisted
        return made

    @property
    def frozen(self) -> tuple[Frozen, ...]:
        """Dimensions of parameters that keep their size, and why."""
        return self.trace.frozen

    def lines(self, everything: bool = False) -> Iterator[str]:
        """The table, then what was frozen.

        Args:
            everything: each structure in a line of its own with its tensors, and each frozen dimension.
        """
        rows = [*map(_row, self), *map(_layer, self.layers)]
        yield from table(rows if everything else _brief(rows))
        yield ""
        on = sum(axis.default for axis in self)
        yield f"{len(self)} structures, {on} on by default; MACs are those of the whole example"
        yield from _every_frozen(self.frozen) if everything else _frozen_by_reason(self.frozen)
        if self.unlisted:
            yield f"layers were not looked for: {self.unlisted}"
        for why in self.trace.untraced.values():
            yield f"in parts: {why}"
        for operator, layers in self.trace.unknown.items():
            yield f"operator without a rule: {operator} in {_some(list(layers))}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _row(axis: Axis) -> Row:
    """An axis, with its tensors as details."""
    why = [] if axis.exact else [axis.why]
    if not axis.default:
        why.append(f"off: {axis.note}")
    elif axis.exact and axis.note:
        why.append(axis.note)
    counts = (axis.units, len(axis.members), axis.parameters, axis.macs)
    cells = (axis.kind, *(f"{n:,}" for n in counts), "on" if axis.default else "off")
    removal = "exact" if axis.exact else "not exact"
    details = tuple(f"    {_slice(part)}" for part in axis.members)
    return Row(axis.name, cells, removal, "; ".join(why), details)


def _layer(layer: Layer) -> Row:
    """A block that may go whole."""
    counts = (1, layer.tensors, layer.parameters, layer.macs)
    cells = ("layers", *(f"{n:,}" for n in counts), "off")
    note = "a whole block, taken by structure 'layers'"
    if layer.exact:
        return Row(layer.name, cells, "exact", note)
    return Row(layer.name, cells, "not exact", f"{layer.why}; {note}")


def _brief(rows: list[Row]) -> list[Row]:
    """What is alike together, and without tensors."""
    return [replace(row, details=()) for row in together(rows)]


def _slice(part: Slice) -> str:
    """A member: the tensor, the dimension, and where in it units lie when not simply 0, 1, 2, …"""
    where = []
    for place in part.places:
        repeats = "".join(f", {n} times every {step}" for n, step in place.repeats)
        if place.offset or place.stride != 1 or repeats:
            where.append(f"from {place.offset} by {place.stride}{repeats}")
    return f"{part.tensor}, dimension {part.dim}" + (f" ({'; '.join(where)})" if where else "")


def _frozen_by_reason(frozen: tuple[Frozen, ...]) -> Iterator[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for item in frozen:
        reason = item.why.partition(" (")[0]
        if reason not in EXPECTED:
            groups[reason].append(f"{item.tensor}[{item.dim}]")
    for reason, places in groups.items():
        yield f"frozen by {reason}: {_some(places)}"


def _every_frozen(frozen: tuple[Frozen, ...]) -> Iterator[str]:
    for item in frozen:
        yield f"frozen: {item.tensor}, dimension {item.dim} of size {item.size}: {item.why}"


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
