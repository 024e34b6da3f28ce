"""What attributes have to say, solved from the arguments of a graph and their sources.

Every argument that follows a dimension is an equation: what the code made of its attributes has to come out
at the new size. Arguments that keep their size are equations too: they hold attributes in their place.

    self.heads                       = 2     heads is 2
    self.config.heads * self.width   = 16    with width = 8 from elsewhere, config.heads is 2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import fx

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Patch
from secateur.structure.graph.positions import Kept, kept_size
from secateur.structure.graph.provenance import (
    Made,
    Place,
    Source,
    measured,
    places,
    worked_out,
)
from secateur.structure.graph.terms import Term, size

LARGEST_SEARCH = 4096
"""A value that no rule of three gives is looked for up to here."""

MOST_UNKNOWN = 3

Owner: TypeAlias = "tuple[str, str, int | None]"
"""Module, attribute, entry of a list."""

Argument: TypeAlias = "tuple[fx.Node, str, int | None]"


@dataclass(frozen=True)
class Equation:
    """`source` has to come out at `new`; `keys` are its places as the node's modules reach them."""

    node: fx.Node
    source: Source
    new: int
    keys: Mapping[Place, Owner]


@dataclass
class Solution:
    """What the equations say.

    Attributes:
        values: attribute -> value; unchanged ones too.
        explained: arguments with a source: attributes, or the size of a tensor that follows by itself.
        wrong: nodes whose equation cannot hold together with the others.
    """

    values: dict[Owner, int] = field(default_factory=dict)
    explained: set[Argument] = field(default_factory=set)
    wrong: list[fx.Node] = field(default_factory=list)


def solve(found: Inference, kept: Kept) -> Solution:
    """The values of attributes under which the code makes the sizes wanted."""
    out = Solution()
    waiting = [e for patch in found.patches for e in _equations(found, patch, kept, out)]
    waiting.sort(key=lambda e: isinstance(e.source, Made))  # what one attribute says comes first
    most = 1
    while waiting and most <= MOST_UNKNOWN:
        left = [e for e in waiting if not _settle(e, out, most)]
        most = most + 1 if len(left) == len(waiting) else 1
        waiting = left
    out.wrong += [e.node for e in waiting]
    _compared(found, kept, out)
    return out


def _compared(found: Inference, kept: Kept, out: Solution) -> None:
    """Attributes that a module only compares with the size of what it is given follow that."""
    provenance = found.captured.provenance
    for place, dim in provenance.equal:
        key = provenance.key(place, [])
        if key is not None and (*key, place.index) not in out.values:
            new = _given_sizes(found, kept, key[0], dim, place.value)
            if len(new) == 1:
                out.values[*key, place.index] = next(iter(new))


def _given_sizes(found: Inference, kept: Kept, module: str, dim: int, old: int) -> set[int]:
    """Sizes since of a dimension of what a module is given from outside, that was `old`."""
    out: set[int] = set()
    for node in found.captured.graph.nodes:
        if module not in owners_of(node):
            continue
        for source in node.all_input_nodes:
            value = found.values[source]
            if source.op != "get_attr" and module not in owners_of(source):
                dims = value[dim : dim + 1] if isinstance(value, tuple) else ()
                out |= {kept_size(term, kept) for term in dims if size(term) == old}
    return out


def _equations(found: Inference, patch: Patch, kept: Kept, out: Solution) -> Iterator[Equation]:
    provenance = found.captured.provenance
    if patch.kind == "scale" or patch.node not in provenance.given:
        return
    path = owners_of(patch.node)
    for argument, term in arguments_of(patch):
        source = provenance.source(patch.node, size(term), argument[2], _length(patch))
        if source is None:
            continue
        if measured(source):
            out.explained.add(argument)
            continue
        keys = {place: provenance.key(place, path) for place in places(source)}
        named = {place: (*key, place.index) for place, key in keys.items() if key is not None}
        if len(named) == len(keys) > 0:
            out.explained.add(argument)
            yield Equation(patch.node, source, kept_size(term, kept), named)


def arguments_of(patch: Patch) -> Iterator[tuple[Argument, Term]]:
    """Every integer of a patch with the term it follows."""
    for number, term in enumerate(patch.terms):
        position = number if patch.kind == "sections" else patch.position
        yield (patch.node, patch.arg, position), term


def owners_of(node: fx.Node) -> list[str]:
    """The modules a node was traced in, innermost first; the root is the empty name."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name).split("@")[0] for name, _ in stack.values()]
    return names[::-1] or [""]


def _length(patch: Patch) -> int:
    """Entries of the list that the argument is one of."""
    lists = [a for a in patch.node.args if isinstance(a, list | tuple)]
    return len(lists[0]) if lists else 0


def _settle(e: Equation, out: Solution, most: int) -> bool:
    """Whether an equation is dealt with: it holds, or gives one of its unknown a value, or is wrong."""
    known = {place: out.values[key] for place, key in e.keys.items() if key in out.values}
    unknown = [place for place in e.keys if place not in known]
    if len(unknown) > most:
        return False
    if worked_out(e.source, known) == e.new:
        out.values |= {e.keys[place]: place.value for place in unknown}
        return True
    for place in unknown:
        value = _value(e, place, known)
        if value is not None:
            out.values[e.keys[place]] = value
            return True
    if not unknown:
        out.wrong.append(e.node)
    return not unknown


def _value(e: Equation, place: Place, known: Mapping[Place, int]) -> int | None:
    """The value of one place that makes the equation hold, others unknown as they were."""
    old = worked_out(e.source, known)
    guesses = [place.value, e.new]
    if old:
        guesses.append(place.value * e.new // old)
    step = worked_out(e.source, {**known, place: place.value + 1})
    if old is not None and step is not None and step != old:
        guesses.append(place.value + (e.new - old) // (step - old))
    guesses += range(1, min(2 * place.value, LARGEST_SEARCH))
    for guess in guesses:
        if guess > 0 and worked_out(e.source, {**known, place: guess}) == e.new:
            return guess
    return None
