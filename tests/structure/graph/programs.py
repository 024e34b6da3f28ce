"""Random programs on small tensors, run two ways at once: as terms, and element by element.

The oracle knows nothing of terms. Each leaf dimension may lose any subset of its positions; all 2^n subsets
are carried through the program at once, and a subset is admissible when every operator can still be carried
out: a reshape needs the kept elements to form a grid on both sides, an addition the same kept on both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import prod

import numpy as np

from secateur.structure.graph.solver import Solver
from secateur.structure.graph.terms import Cat, Fix, Term, Var, concat

BITS = 13
ELEMENTS = 72


@dataclass(eq=False)
class Value:
    """One tensor: its terms, and for every subset (row) which positions of each dimension are kept."""

    terms: list[Term]
    keeps: list[np.ndarray]  # per dim [subsets, n]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(keep.shape[1] for keep in self.keeps)


@dataclass
class Program:
    """A program under construction."""

    rng: random.Random
    solver: Solver = field(default_factory=Solver)
    values: list[Value] = field(default_factory=list)
    leaves: list[tuple[Term, np.ndarray]] = field(default_factory=list)
    bits: int = 0
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subsets = np.arange(2**BITS)
        self.ok = np.ones(2**BITS, dtype=bool)

    def leaf_dim(self, n: int) -> tuple[Term, np.ndarray]:
        """A new free dimension; its positions are the next `n` bits of the subset number."""
        if n == 1:
            return (), np.ones((2**BITS, 1), dtype=bool)
        keep = (self.subsets[:, None] >> np.arange(self.bits, self.bits + n)) & 1 == 1
        self.bits += n
        term = self.solver.fresh(n)
        self.leaves.append((term, keep))
        return term, keep

    def room(self) -> int:
        return BITS - self.bits

    def add(self, name: str, terms: list[Term], keeps: list[np.ndarray]) -> None:
        self.values.append(Value(terms, keeps))
        self.text.append(f"v{len(self.values) - 1} = {name} {self.values[-1].shape}")

    def same(self, a: np.ndarray, b: np.ndarray) -> None:
        self.ok &= (a == b).all(1)


def leaf(p: Program) -> None:
    sizes = [n for n in (2, 3, 4, 6, 8, 12) if n <= p.room()]
    if not sizes:
        return
    dims = [p.leaf_dim(p.rng.choice(sizes))]
    if p.rng.random() < 0.6:
        more = [n for n in (1, 1, 2, 3, 4, 6) if n <= p.room()]
        if more:
            dims.append(p.leaf_dim(p.rng.choice(more)))
    p.rng.shuffle(dims)
    p.add("leaf", [t for t, _ in dims], [k for _, k in dims])


def factor(rng: random.Random, n: int, parts: int) -> list[int]:
    """A random ordered factorisation of n into `parts` factors."""
    out = []
    for _ in range(parts - 1):
        out.append(rng.choice([d for d in range(1, n + 1) if n % d == 0]))
        n //= out[-1]
    out.append(n)
    return out


def reshape(p: Program) -> None:
    v = p.rng.choice(p.values)
    shape = factor(p.rng, prod(v.shape), p.rng.choice([1, 2, 2, 3]))
    grid = outer(v.keeps).reshape(-1, *shape)  # [subsets, *shape]
    keeps = [
        grid.any(axis=tuple(j + 1 for j in range(len(shape)) if j != i)) for i in range(len(shape))
    ]
    p.ok &= (outer(keeps) == grid.reshape(len(grid), -1)).all(1)
    terms = [p.solver.fresh(n) for n in shape]
    flat = tuple(a for t in v.terms for a in t)
    p.solver.unify(flat, tuple(a for t in terms for a in t))
    p.add(f"reshape v{p.values.index(v)}", terms, keeps)


def outer(keeps: list[np.ndarray]) -> np.ndarray:
    """[subsets, elements]: which elements of the flattened tensor are kept."""
    out = keeps[0]
    for keep in keeps[1:]:
        out = (out[:, :, None] & keep[:, None, :]).reshape(len(out), -1)
    return out


def permute(p: Program) -> None:
    v = p.rng.choice(p.values)
    order = p.rng.sample(range(len(v.shape)), len(v.shape))
    p.add(
        f"permute v{p.values.index(v)} {order}",
        [v.terms[i] for i in order],
        [v.keeps[i] for i in order],
    )


def cat(p: Program) -> None:
    a = p.rng.choice(p.values)
    dim = p.rng.randrange(len(a.shape))
    fits = [b for b in p.values if _alike(a.shape, b.shape, dim)]
    b = p.rng.choice(fits)
    if prod(a.shape) + prod(b.shape) > ELEMENTS:
        return
    terms, keeps = list(a.terms), list(a.keeps)
    for i in range(len(a.shape)):
        if i == dim:
            terms[i] = concat([p.solver.resolve(a.terms[i]), p.solver.resolve(b.terms[i])])
            keeps[i] = np.concatenate([a.keeps[i], b.keeps[i]], axis=1)
        else:
            terms[i] = p.solver.unify(a.terms[i], b.terms[i])
            p.same(a.keeps[i], b.keeps[i])
    p.add(f"cat v{p.values.index(a)} v{p.values.index(b)} dim {dim}", terms, keeps)


def _alike(a: tuple[int, ...], b: tuple[int, ...], dim: int | None) -> bool:
    return len(a) == len(b) and all(
        x == y or i == dim for i, (x, y) in enumerate(zip(a, b, strict=True))
    )


def split(p: Program) -> None:
    v = p.rng.choice(p.values)
    dim = p.rng.randrange(len(v.shape))
    if v.shape[dim] < 2:
        return
    at = p.rng.randrange(1, v.shape[dim])
    halves = p.solver.cut(v.terms[dim], at)
    for half, window in zip(halves, (slice(None, at), slice(at, None)), strict=True):
        terms, keeps = list(v.terms), list(v.keeps)
        terms[dim], keeps[dim] = half, keeps[dim][:, window]
        p.add(f"split v{p.values.index(v)} dim {dim} at {at}", terms, keeps)


def narrow(p: Program) -> None:
    """A slice out of the middle: two cuts, the middle piece kept."""
    v = p.rng.choice(p.values)
    dim = p.rng.randrange(len(v.shape))
    if v.shape[dim] < 3:
        return
    lo = p.rng.randrange(1, v.shape[dim] - 1)
    hi = p.rng.randrange(lo + 1, v.shape[dim])
    piece = p.solver.cut(p.solver.cut(v.terms[dim], hi)[0], lo)[1]
    terms, keeps = list(v.terms), list(v.keeps)
    terms[dim], keeps[dim] = piece, keeps[dim][:, lo:hi]
    p.add(f"slice v{p.values.index(v)} dim {dim} [{lo}:{hi}]", terms, keeps)


def expand(p: Program) -> None:
    v = p.rng.choice(p.values)
    n = p.rng.choice([2, 3, 4])
    if n > p.room() or n * prod(v.shape) > ELEMENTS:
        return
    dim = p.rng.randrange(len(v.shape) + 1)
    term, keep = p.leaf_dim(n)
    terms, keeps = list(v.terms), list(v.keeps)
    terms.insert(dim, term)
    keeps.insert(dim, keep)
    p.add(f"expand v{p.values.index(v)} dim {dim} to {n}", terms, keeps)


def matmul(p: Program) -> None:
    pairs = [
        (a, b)
        for a in p.values
        for b in p.values
        if len(a.shape) == len(b.shape) == 2 and a.shape[1] == b.shape[0] and a.shape[1] > 1
    ]
    if not pairs:
        return
    a, b = p.rng.choice(pairs)
    p.solver.unify(a.terms[1], b.terms[0])
    p.same(a.keeps[1], b.keeps[0])
    p.add(
        f"matmul v{p.values.index(a)} v{p.values.index(b)}",
        [a.terms[0], b.terms[1]],
        [a.keeps[0], b.keeps[1]],
    )


def plus(p: Program) -> None:
    a = p.rng.choice(p.values)
    b = p.rng.choice([b for b in p.values if _alike(a.shape, b.shape, None)])
    for x, y, k, m in zip(a.terms, b.terms, a.keeps, b.keeps, strict=True):
        p.solver.unify(x, y)
        p.same(k, m)
    p.add(f"add v{p.values.index(a)} v{p.values.index(b)}", list(a.terms), list(a.keeps))


OPERATORS = [
    leaf,
    reshape,
    reshape,
    reshape,
    permute,
    cat,
    cat,
    split,
    narrow,
    expand,
    matmul,
    plus,
]


def random_program(seed: int, length: int = 9) -> Program:
    """A program of up to `length` operators, the same for the same seed."""
    p = Program(random.Random(seed))
    leaf(p)
    for _ in range(p.rng.randrange(2, length)):
        p.rng.choice(OPERATORS)(p)
    return p


def term_keeps(term: Term, keeps: dict[Var, np.ndarray], rows: int) -> np.ndarray:
    """[rows, size]: positions of a resolved term kept when each axis keeps `keeps[axis]` ([rows, units])."""
    out = np.ones((rows, 1), dtype=bool)
    for atom in term:
        if isinstance(atom, Fix):
            part = np.ones((rows, atom.size), dtype=bool)
        elif isinstance(atom, Cat):
            part = np.concatenate([term_keeps(seg, keeps, rows) for seg in atom.segs], axis=1)
        else:
            part = keeps[atom]
        out = outer([out, part])
    return out


def frozen_units(term: Term) -> list[list[int]]:
    """The positions of every unit of a resolved term that the algebra does not let go."""
    total, done = prod(a.size for a in term), 1
    out: list[list[int]] = []
    for atom in term:
        inner = total // (done * atom.size)
        if isinstance(atom, Fix):
            units = [[k] for k in range(atom.size)]
        elif isinstance(atom, Cat):
            units, start = [], 0
            for seg in atom.segs:
                seg_size = prod(a.size for a in seg)
                local = frozen_units(seg) if seg else [[0]]
                units += [[start + i for i in unit] for unit in local]
                start += seg_size
        else:
            units = []
        for unit in units:
            out.append(
                [
                    (o * atom.size + k) * inner + i
                    for o in range(done)
                    for k in unit
                    for i in range(inner)
                ]
            )
        done *= atom.size
    return out
