"""Terms by hand: the cases real networks are made of."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from secateur.structure.graph.positions import kept_positions, kept_size, places
from secateur.structure.graph.solver import Limits, Solver, TermError
from secateur.structure.graph.terms import Cat, Fix, Term, Var, concat, fixed, free, reason, size
from tests.structure.graph.programs import random_program


def var(s: Solver, n: int) -> tuple[Term, Var]:
    term = s.fresh(n)
    atom = term[0]
    assert isinstance(atom, Var)
    return term, atom


def test_products_are_refined_to_common_factors() -> None:
    s = Solver()
    a, b, c, d = (s.fresh(n) for n in (6, 4, 3, 8))
    s.unify(a + b, c + d)
    assert [atom.size for atom in s.resolve(a + b)] == [3, 2, 4]
    assert s.resolve(c) == s.resolve(a)[:1]
    assert not s.events


def test_incompatible_factorings_freeze_and_are_recorded() -> None:
    s = Solver()
    s.where = "reshape_3"
    a, b, c, d = (s.fresh(n) for n in (4, 6, 6, 4))
    s.unify(a + b, c + d)
    assert all(fixed(s.resolve(t)) for t in (a, b, c, d))
    assert s.events[0].kind == "conflict"
    assert "reshape_3" in reason(s.resolve(a))


def test_a_conflict_freezes_only_its_own_block() -> None:
    s = Solver()
    outer, other = s.fresh(5), s.fresh(5)
    s.unify(outer + s.fresh(4) + s.fresh(6), other + s.fresh(6) + s.fresh(4))
    assert s.resolve(outer) == s.resolve(other)
    assert isinstance(s.resolve(outer)[0], Var)


def test_fused_qkv_with_grouped_heads() -> None:
    """Rows (q of 4 heads, k and v of 2 heads, 3 wide) read as heads x 3: one head width, free head counts."""
    s = Solver()
    q, k, v = (s.fresh(n) for n in (12, 6, 6))
    heads, width = s.fresh(8), s.fresh(3)
    s.unify(concat([q, k, v]), heads + width)
    assert s.resolve(q)[-1] == s.resolve(k)[-1] == s.resolve(v)[-1] == width[0]
    assert s.resolve(heads) == concat([s.resolve(t)[:1] for t in (q, k, v)])
    assert not s.events


def test_channel_shuffle_ties_the_two_halves() -> None:
    s = Solver()
    a, b = s.fresh(6), s.fresh(6)
    s.unify(concat([a, b]), s.fresh(2) + s.fresh(6))
    assert s.resolve(a) == s.resolve(b)


def test_a_slice_through_a_factor_costs_one_unit() -> None:
    s = Solver()
    head, rest = s.fresh(5), s.fresh(4)
    left, right = s.cut(head + rest, 10)
    assert (size(left), size(right)) == (10, 10)
    assert sum(v.size for v in free(s.resolve(head))) == 4  # units 0, 1 and 3, 4
    assert s.events[0].kind == "cut inside"


def test_reasons_travel_with_the_fixed_size() -> None:
    s = Solver()
    t, again = s.fresh(4), s.fresh(4)
    s.unify(t, again)
    s.freeze(again, "user output")
    assert reason(s.resolve(t)) == "user output"


def test_unequal_sizes_are_a_bug_of_a_rule() -> None:
    s = Solver()
    s.where = "linear_1"
    with pytest.raises(TermError, match="linear_1"):
        s.unify(s.fresh(4), s.fresh(6))


@pytest.mark.parametrize("limits", [Limits(steps=40), Limits(seconds=-1.0), Limits(atoms=3)])
def test_over_budget_freezes_and_goes_on(limits: Limits) -> None:
    s = Solver(limits)
    for _ in range(300):
        a = concat([s.fresh(n) for n in (2, 3, 4, 5, 10)])
        b = s.fresh(6) + s.fresh(4)
        s.unify(a, b)
    assert any(e.kind == "budget" for e in s.events)
    assert fixed(s.resolve(b))


def test_a_long_chain_of_bindings_needs_no_deep_recursion() -> None:
    s = Solver()
    terms = [s.fresh(8) for _ in range(20_000)]
    for a, b in pairwise(terms):
        s.unify(a, b)
    s.freeze(terms[-1], "end")
    assert s.resolve(terms[0]) == (Fix(8),)


@pytest.mark.parametrize("seed", range(60))
def test_places_agree_with_kept_positions(seed: int) -> None:
    """Removing unit u of an axis removes exactly the positions its layouts name."""
    p = random_program(seed, 12)
    rng = random.Random(seed)
    for value in p.values:
        for term in map(p.solver.resolve, value.terms):
            for axis in free(term):
                u = rng.randrange(axis.size)
                kept = {axis: np.delete(np.arange(axis.size), u)}
                gone = {int(i) for place in places(term, axis) for i in place.positions(u)}
                left = kept_positions(term, kept)
                assert set(range(size(term))) - gone == set(left.tolist())
                assert kept_size(term, kept) == len(left)


def test_concatenations_of_equal_segments_are_equal() -> None:
    s = Solver()
    a, b = var(s, 3)[0], var(s, 4)[0]
    assert Cat((a, b)) == Cat((a, b))
    assert hash(Cat((a, b))) == hash(Cat((a, b)))
    assert Cat((a, b)) != Cat((b, a))
