"""From terms to positions: where the units of an axis lie in a dimension, and what is left after a choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.structure.graph.terms import Cat, Fix, Term, Var
from secateur.structure.graph.terms import size as size_of

Kept = Mapping[
    Var, NDArray[np.int64]
]  # the units that stay, ascending; an axis not named keeps all


@dataclass(frozen=True)
class Strided:
    """Unit u lies at offset + u * stride + every combination of the repeats (count, stride).

    >>> Strided(0, 2, ((3, 10), (2, 1))).positions(1).tolist()
    [2, 3, 12, 13, 22, 23]
    """

    offset: int
    stride: int
    repeats: tuple[tuple[int, int], ...] = ()

    def positions(self, unit: int) -> NDArray[np.int64]:
        """The positions of one unit, ascending."""
        out = np.array([self.offset + unit * self.stride], dtype=np.int64)
        for count, stride in self.repeats:
            out = (out[:, None] + stride * np.arange(count)[None, :]).reshape(-1)
        return np.sort(out)

    @property
    def width(self) -> int:
        """How many positions one unit has."""
        return int(np.prod([count for count, _ in self.repeats], dtype=np.int64))


def kept_size(term: Term, kept: Mapping[Var, Sized]) -> int:
    """The size of a resolved term after the choice."""
    n = 1
    for atom in term:
        if isinstance(atom, Cat):
            n *= sum(kept_size(seg, kept) for seg in atom.segs)
        else:
            n *= len(kept[atom]) if isinstance(atom, Var) and atom in kept else atom.size
    return n


def kept_positions(term: Term, kept: Kept) -> NDArray[np.int64]:
    """The positions of a resolved term that stay, ascending.

    >>> from secateur.structure.graph.terms import Fix, Var
    >>> v = Var(3)
    >>> kept_positions((v, Fix(2)), {v: np.array([0, 2])}).tolist()
    [0, 1, 4, 5]
    """
    out = np.zeros(1, dtype=np.int64)
    for atom in term:
        local = _atom_positions(atom, kept)
        out = (out[:, None] * atom.size + local[None, :]).reshape(-1)
    return out


def _atom_positions(atom: Fix | Var | Cat, kept: Kept) -> NDArray[np.int64]:
    if isinstance(atom, Var) and atom in kept:
        return kept[atom]
    if not isinstance(atom, Cat):
        return np.arange(atom.size, dtype=np.int64)
    parts, start = [], 0
    for seg in atom.segs:
        parts.append(start + kept_positions(seg, kept))
        start += size_of(seg)
    return np.concatenate(parts)


def places(term: Term, var: Var) -> list[Strided]:
    """Where the units of one axis lie in a resolved term: one entry for each occurrence.

    >>> from secateur.structure.graph.terms import Fix, Var
    >>> v = Var(4)
    >>> places((Fix(3), v, Fix(2)), v)
    [Strided(offset=0, stride=2, repeats=((3, 8), (2, 1)))]
    """
    return list(_places(term, var))


def _places(term: Term, var: Var) -> Iterator[Strided]:
    total, outer = size_of(term), 1
    for atom in term:
        inner = total // (outer * atom.size)
        around = ((outer, atom.size * inner), (inner, 1))
        repeats = tuple(r for r in around if r[0] > 1)
        if atom is var:
            yield Strided(0, inner, repeats)
        elif isinstance(atom, Cat):
            yield from _places_in_segments(atom, var, inner, repeats)
        outer *= atom.size


def _places_in_segments(
    cat: Cat, var: Var, inner: int, repeats: tuple[tuple[int, int], ...]
) -> Iterator[Strided]:
    start = 0
    for seg in cat.segs:
        for p in _places(seg, var):
            within = tuple((count, stride * inner) for count, stride in p.repeats)
            yield Strided((start + p.offset) * inner, p.stride * inner, repeats + within)
        start += size_of(seg)
