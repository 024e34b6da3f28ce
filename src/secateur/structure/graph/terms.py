"""Terms: what one dimension of one tensor is made of.

A term is a row-major product of atoms, written as a tuple; `()` has size 1: such dimensions carry nothing.

    Fix(n)     a size nobody may change; two of equal size are equal, whatever the reason they carry
    Var(n)     an axis of n units that may be kept or removed one by one; bound by substitution
    Cat(segs)  two or more terms laid end to end

Example: the rows of a fused query-key-value weight are `(Cat((q,), (k,), (v,)),)`, and after a reshape to
heads `(Cat((h,), (kv,), (kv,)), d)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Fix:
    """A frozen size, with the reason (which takes no part in comparison)."""

    size: int
    why: str = field(default="", compare=False)


@dataclass(eq=False, slots=True)
class Var:
    """An axis of `size` >= 2 units; `binding` is what it turned out to be, or None while free."""

    size: int
    binding: Term | None = None

    def __repr__(self) -> str:
        return f"Var{id(self) % 9973}({self.size})"


class Cat:
    """Terms laid end to end; equal when their segments are."""

    __slots__ = ("resolved", "segs", "size", "stamp")

    def __init__(self, segs: tuple[Term, ...]) -> None:
        self.segs = segs
        self.size = sum(map(size, segs))
        self.stamp = -1  # the solver's binding count when `resolved` was computed
        self.resolved: Term = ()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Cat) and self.segs == other.segs)

    def __hash__(self) -> int:
        return hash(self.segs)

    def __repr__(self) -> str:
        return f"Cat{self.segs}"


Atom: TypeAlias = Fix | Var | Cat
Term: TypeAlias = tuple[Atom, ...]
Dims: TypeAlias = tuple[Term, ...]


def size(term: Term) -> int:
    """The number of positions a term spans.

    >>> size((Var(3), Fix(4)))
    12
    """
    return prod(atom.size for atom in term)


def fix(n: int, why: str = "") -> Term:
    """The frozen term of size `n`."""
    return (Fix(n, why),) if n != 1 else ()


def fixed(term: Term) -> bool:
    """True where no unit of the (resolved) term can go."""
    return all(isinstance(atom, Fix) for atom in term)


def reason(term: Term) -> str:
    """The first reason given inside a term, or the empty string.

    >>> reason((Var(2), Fix(3, "user input")))
    'user input'
    """
    return next((atom.why for atom in walk(term) if isinstance(atom, Fix) and atom.why), "")


def walk(term: Term) -> Iterator[Fix | Var]:
    """The leaves of a term, from the outermost factor and the first segment on."""
    for atom in term:
        if isinstance(atom, Cat):
            for seg in atom.segs:
                yield from walk(seg)
        else:
            yield atom


def free(term: Term) -> list[Var]:
    """The distinct axes of a resolved term, in order."""
    return list(dict.fromkeys(atom for atom in walk(term) if isinstance(atom, Var)))


def product(atoms: Iterable[Atom]) -> Term:
    """A product in normal form: neighbouring frozen factors are one."""
    out: list[Atom] = []
    for atom in atoms:
        last = out[-1] if out else None
        if isinstance(atom, Fix) and isinstance(last, Fix):
            out[-1] = Fix(last.size * atom.size, last.why or atom.why)
        elif atom.size != 1:
            out.append(atom)
    return tuple(out)


def concat(segs: Iterable[Term]) -> Term:
    """A concatenation in normal form: flat, neighbouring frozen segments are one.

    >>> concat([(Fix(2),), (), (Fix(3),)])
    (Fix(size=6, why=''),)
    """
    out: list[Term] = []
    for seg in segs:
        for part in seg[0].segs if len(seg) == 1 and isinstance(seg[0], Cat) else (seg,):
            if out and fixed(part) and fixed(out[-1]):
                out[-1] = fix(size(out[-1]) + size(part), reason(out[-1]) or reason(part))
            else:
                out.append(part)
    return out[0] if len(out) == 1 else (Cat(tuple(out)),)
