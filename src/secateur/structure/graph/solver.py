"""Unification of terms: which axes of which tensors are the same axis.

`Solver.unify(a, b)` makes two terms of equal size equal by binding axes, as a type checker binds type
variables. What cannot be made equal exactly is frozen, which is always sound, and noted in `Solver.events`.
Every bound axis is bound to smaller ones, so it ends; budgets bound the time as well.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from secateur.structure.graph.terms import Atom, Cat, Fix, Term, Var, concat, fix, fixed, product
from secateur.structure.graph.terms import reason as reason_of
from secateur.structure.graph.terms import size as size_of


class TermError(AssertionError):
    """Two terms of unequal size were said to be equal: the rule of some operator is wrong."""


class _OverBudget(Exception):
    """Raised inside a unification that costs too much; its terms are then frozen."""


@dataclass(frozen=True)
class Limits:
    """What one analysis may cost; over it, terms are frozen and the fact recorded."""

    steps: int = 2_000_000
    seconds: float = 30.0
    atoms: int = 4096


Kind: TypeAlias = Literal["conflict", "cut inside", "single", "rows", "budget"]


@dataclass(frozen=True)
class Event:
    """Freedom given up on purpose: two incompatible factorings, a slice across a factor, a spent budget …"""

    kind: Kind
    where: str
    detail: str


class Solver:
    """The state of one analysis: bindings, what was frozen and why, what it has cost."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.events: list[Event] = []
        self.where = ""  # the operator being worked on, for the record
        self.steps = 0
        self._bindings = 0
        self._started = time.monotonic()

    def fresh(self, n: int) -> Term:
        """A term of one new axis with `n` units; of one position, or of none, nothing can go."""
        return (Var(n),) if n > 1 else fix(n, "there is nothing in it")

    def resolve(self, term: Term) -> Term:
        """The term with every bound axis replaced by what it is bound to."""
        if all(type(atom) is Fix or (type(atom) is Var and atom.binding is None) for atom in term):
            return term if len(term) < 2 else product(term)
        return product(piece for atom in term for piece in self._resolve_atom(atom))

    def _resolve_atom(self, atom: Atom) -> Term:
        self.steps += 1
        if isinstance(atom, Var):
            return self._follow(atom)
        if isinstance(atom, Fix):
            return (atom,)
        if atom.stamp != self._bindings:
            atom.resolved = concat([self.resolve(seg) for seg in atom.segs])
            atom.stamp = self._bindings
        return atom.resolved

    def _follow(self, var: Var) -> Term:
        chain: list[Var] = []
        term: Term = (var,)
        while len(term) == 1 and isinstance(term[0], Var) and term[0].binding is not None:
            chain.append(term[0])
            term = term[0].binding
        if len(term) != 1 or isinstance(term[0], Cat):
            term = self.resolve(term)
        for link in chain:  # path compression
            link.binding = term
        return term

    def freeze(self, term: Term, why: str) -> None:
        """Bind every axis of a term to a fixed size, keeping `why`."""
        for atom in self.resolve(term):
            if isinstance(atom, Var):
                self._bind(atom, (Fix(atom.size, why),))
            elif isinstance(atom, Cat):
                for seg in atom.segs:
                    self.freeze(seg, why)

    def unify(self, a: Term, b: Term) -> Term:
        """Make two terms the same; return the result.

        >>> s = Solver()
        >>> v, h, d = s.fresh(12), s.fresh(3), s.fresh(4)
        >>> s.unify(v, h + d) == h + d
        True
        """
        if size_of(a) != size_of(b):
            raise TermError(
                f"{self.where}: {size_of(a)} and {size_of(b)} positions cannot be equal"
            )
        try:
            self._unify(a, b)
        except _OverBudget:
            self.record("budget", f"{self.steps} steps; both sides frozen")
            for term in (a, b):
                self.freeze(term, f"budget spent at {self.where}")
        return self.resolve(a)

    def record(self, kind: Kind, detail: str) -> None:
        """Note that freedom was given up here."""
        self.events.append(Event(kind, self.where, detail))

    def _tick(self, *terms: Term) -> None:
        self.steps += 1
        late = time.monotonic() - self._started > self.limits.seconds
        big = any(len(t) > self.limits.atoms or _segments(t) > self.limits.atoms for t in terms)
        if self.steps > self.limits.steps or late or big:
            raise _OverBudget

    def _bind(self, var: Var, term: Term) -> None:
        var.binding = term
        self._bindings += 1

    def _unify(self, a: Term, b: Term) -> None:
        a, b = self.resolve(a), self.resolve(b)
        self._tick(a, b)
        if a == b:
            return
        if _single(a, Var) or _single(b, Var):
            self._bind_single(a, b)
        elif fixed(a) or fixed(b):
            self._freeze_other(a, b)
        elif _single(a, Cat) and _single(b, Cat):
            self._unify_cat(a, b)
        else:
            for left, right in _blocks(a, b):
                self._unify_block(left, right)

    def _bind_single(self, a: Term, b: Term) -> None:
        var, other = (a[0], b) if _single(a, Var) else (b[0], a)
        assert isinstance(var, Var)
        self._bind(var, other)

    def _freeze_other(self, a: Term, b: Term) -> None:
        source, target = (a, b) if fixed(a) else (b, a)
        self.freeze(target, reason_of(source) or self.where)

    def _unify_cat(self, a: Term, b: Term) -> None:
        """Walk two concatenations together, cutting the longer piece."""
        left, right = deque(_segs(a)), deque(_segs(b))
        while left:
            x, y = left.popleft(), right.popleft()
            if size_of(x) > size_of(y):
                x, rest = self.cut(x, size_of(y))
                left.appendleft(rest)
            elif size_of(y) > size_of(x):
                y, rest = self.cut(y, size_of(x))
                right.appendleft(rest)
            self._unify(x, y)

    def _unify_block(self, a: Term, b: Term) -> None:
        """Unify two products with no common boundary inside: refine both to the common factors."""
        simple = len(a) == len(b) == 1 or _single(a, Var) or _single(b, Var)
        if simple or fixed(a) or fixed(b):
            return self._unify(a, b)
        chain = sorted(_suffixes(a) | _suffixes(b))
        if any(outer % inner for inner, outer in pairwise(chain)):
            return self._conflict(a, b)
        for x, y in zip(self._refine(a, chain), self._refine(b, chain), strict=True):
            self._unify(x, y)
        return None

    def _conflict(self, a: Term, b: Term) -> None:
        shapes = [" x ".join(str(atom.size) for atom in term) for term in (a, b)]
        self.record("conflict", f"{shapes[0]} against {shapes[1]}")
        for term in (a, b):
            self.freeze(term, f"{shapes[0]} is also read as {shapes[1]} at {self.where}")

    def _refine(self, term: Term, chain: list[int]) -> list[Term]:
        """Cut the factors of `term` so that its suffix products are exactly `chain`."""
        pieces: list[Term] = []
        inner = size_of(term)
        for atom in term:
            outer, inner = inner, inner // atom.size
            marks = [c for c in chain if inner <= c <= outer]
            pieces += self._split_atom(atom, [hi // lo for lo, hi in pairwise(marks)][::-1])
        return pieces

    def _split_atom(self, atom: Atom, sizes: list[int]) -> list[Term]:
        """Write one factor as a product of `sizes`, outermost first."""
        if len(sizes) == 1:
            return [(atom,)]
        if isinstance(atom, Fix):
            return [fix(n, atom.why) for n in sizes]
        now = self.resolve((atom,))
        if _single(now, Cat):
            outer, inner = self._split_cat(now, sizes[-1])
            return [*self._split_term(outer, sizes[:-1]), inner]
        return self._split_term(now, sizes)

    def _split_term(self, term: Term, sizes: list[int]) -> list[Term]:
        parts = [self.fresh(n) for n in sizes]
        self._unify(term, tuple(atom for part in parts for atom in part))
        return parts

    def _split_cat(self, cat: Term, m: int) -> tuple[Term, Term]:
        """A concatenation as outer x inner with an inner size of `m`: every run of m positions is one row."""
        outer: list[Term] = []
        inner: list[Term] = []
        run: list[Term] = []
        for seg in _segs(cat):
            run.append(seg)
            if sum(map(size_of, run)) % m == 0:
                self._close_run(run, m, outer, inner)
                run = []
        for other in inner[1:]:
            self._unify(inner[0], other)
        rows = concat(outer)
        why = f"rows of a concatenation at {self.where}"
        return (fix(size_of(rows), why) if fixed(rows) else rows), inner[0]

    def _close_run(self, run: list[Term], m: int, outer: list[Term], inner: list[Term]) -> None:
        total = sum(map(size_of, run))
        if len(run) == 1 and total > m:
            rows, row = self.fresh(total // m), self.fresh(m)
            self._unify(run[0], rows + row)
            outer.append(rows)
            inner.append(row)
            return
        self.record("rows", f"whole rows of {m} of a concatenation are kept")
        rest = concat(run)
        for _ in range(total // m - 1):
            piece, rest = self.cut(rest, m)
            inner.append(piece)
        inner.append(rest)
        outer.extend(() for _ in range(total // m))

    def cut(self, term: Term, p: int) -> tuple[Term, Term]:
        """The first `p` positions of a term and the others, 0 < p < size.

        A cut across an inner factor fixes the one outer unit that it goes through.
        """
        self._tick(term)
        head, rest = (term := self.resolve(term))[0], term[1:]
        inner = size_of(rest)
        if isinstance(head, Cat):
            return self._cut_segments([seg + rest for seg in head.segs], p)
        if p % inner == 0:
            left, right = self._cut_atom(head, p // inner)
            return left + rest, right + rest
        return self._cut_inside(head, rest, p)

    def _cut_atom(self, atom: Fix | Var, p: int) -> tuple[Term, Term]:
        if isinstance(atom, Fix):
            return fix(p, atom.why), fix(atom.size - p, atom.why)
        if 1 in (p, atom.size - p):
            self.record(
                "single", f"a slice at {p} of {atom.size} leaves one unit alone, which stays"
            )
        left, right = self.fresh(p), self.fresh(atom.size - p)
        self._bind(atom, concat([left, right]))
        return left, right

    def _cut_segments(self, segs: list[Term], p: int) -> tuple[Term, Term]:
        left: list[Term] = []
        for i, seg in enumerate(segs):
            if p >= size_of(seg):
                left.append(seg)
                p -= size_of(seg)
                continue
            first, second = self.cut(seg, p) if p else (None, seg)
            left += [] if first is None else [first]
            return concat(left), concat([second, *segs[i + 1 :]])
        raise TermError(f"{self.where}: a cut beyond the end")

    def _cut_inside(self, head: Fix | Var, rest: Term, p: int) -> tuple[Term, Term]:
        q, inner = p // size_of(rest), p % size_of(rest)
        self.record("cut inside", f"a slice at {p} goes through unit {q} of {head.size}")
        whole: Term = (head,)
        before, tail = self._split_off(whole, q)
        after = self._split_off(tail, 1)[1] if size_of(tail) > 1 else None
        r1, r2 = self.cut(rest, inner)
        rest = self.resolve(rest)
        left = [r1] if before is None else [before + rest, r1]
        right = [r2] if after is None else [r2, after + rest]
        return concat(left), concat(right)

    def _split_off(self, term: Term, p: int) -> tuple[Term | None, Term]:
        return self.cut(term, p) if p else (None, term)


def _single(term: Term, kind: type) -> bool:
    return len(term) == 1 and isinstance(term[0], kind)


def _segs(term: Term) -> tuple[Term, ...]:
    atom = term[0]
    assert isinstance(atom, Cat)
    return atom.segs


def _segments(term: Term) -> int:
    return max((len(atom.segs) for atom in term if isinstance(atom, Cat)), default=0)


def _suffixes(term: Term) -> set[int]:
    out, n = {1}, 1
    for atom in reversed(term):
        n *= atom.size
        out.add(n)
    return out


def _blocks(a: Term, b: Term) -> list[tuple[Term, Term]]:
    """Cut two products at their common suffix products, outermost block first."""
    common = sorted(_suffixes(a) & _suffixes(b), reverse=True)
    return [(_between(a, lo, hi), _between(b, lo, hi)) for hi, lo in pairwise(common)]


def _between(term: Term, lo: int, hi: int) -> Term:
    out: list[Atom] = []
    inner = size_of(term)
    for atom in term:
        outer, inner = inner, inner // atom.size
        if lo <= inner and outer <= hi:
            out.append(atom)
    return tuple(out)
