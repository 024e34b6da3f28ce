"""The term algebra against brute force: nothing missing, and nothing tied without need."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.structure.graph.terms import Var, free
from tests.structure.graph.programs import (
    BITS,
    Program,
    frozen_units,
    random_program,
    term_keeps,
)

PROGRAMS = 600


def removals(p: Program) -> tuple[dict[Var, np.ndarray], int]:
    """Every choice of kept units of every axis of the leaves, as one row each."""
    axes = list(dict.fromkeys(v for t, _ in p.leaves for v in free(p.solver.resolve(t))))
    units = sum(v.size for v in axes)
    rows = np.arange(2 ** min(units, BITS))
    keeps, shift = {}, 0
    for v in axes:
        keeps[v] = (rows[:, None] >> np.arange(shift, shift + v.size)) & 1 == 1
        shift += v.size
    return keeps, len(rows)


def subset_numbers(p: Program, leaf_keeps: list[np.ndarray]) -> np.ndarray:
    """The subset number (row of the oracle) for every row of leaf keeps."""
    number = np.zeros(len(leaf_keeps[0]), dtype=np.int64)
    shift = 0
    for keep in leaf_keeps:
        number += (keep.astype(np.int64) << np.arange(shift, shift + keep.shape[1])).sum(1)
        shift += keep.shape[1]
    return number


def nonempty(p: Program) -> np.ndarray:
    return np.all([keep.any(1) for v in p.values for keep in v.keeps], axis=0)


def spares_frozen(p: Program) -> np.ndarray:
    """Subsets in which no frozen unit of any dimension of any value is gone as a whole."""
    out = np.ones(2**BITS, dtype=bool)
    for value in p.values:
        for term, keep in zip(value.terms, value.keeps, strict=True):
            for unit in frozen_units(p.solver.resolve(term)):
                out &= keep[:, unit].any(1)
    return out


def inferred(p: Program) -> np.ndarray:
    keeps, rows = removals(p)
    leaf_keeps = [term_keeps(p.solver.resolve(t), keeps, rows) for t, _ in p.leaves]
    return subset_numbers(p, leaf_keeps)


def show(p: Program) -> str:
    return "\n".join(p.text)


@pytest.mark.parametrize("block", range(6))
def test_nothing_is_missing(block: int) -> None:
    """Whatever units the axes lose, every operator can still be carried out, just as the terms say."""
    for seed in range(block, PROGRAMS, 6):
        p = random_program(seed)
        keeps, rows = removals(p)
        numbers = inferred(p)
        fine = nonempty(p)[numbers]
        assert p.ok[numbers][fine].all(), show(p)
        for value in p.values:
            for term, keep in zip(value.terms, value.keeps, strict=True):
                said = term_keeps(p.solver.resolve(term), keeps, rows)
                assert (said == keep[numbers])[fine].all(), show(p)


@pytest.mark.parametrize("block", range(6))
def test_nothing_is_tied_without_need(block: int) -> None:
    """Every admissible removal that spares the frozen units is a choice of units of the axes."""
    for seed in range(block, PROGRAMS, 6):
        p = random_program(seed)
        mask = np.arange(2**BITS) < 2**p.bits  # the bits beyond the leaves mean nothing
        admissible = p.ok & nonempty(p) & mask
        if p.solver.events:
            admissible &= spares_frozen(p)
        missing = set(np.flatnonzero(admissible)) - set(inferred(p).tolist())
        assert not missing, (
            f"{show(p)}\nevents {p.solver.events}\n{len(missing)} of {admissible.sum()}"
        )


def test_most_programs_need_no_freezing() -> None:
    """The record of given-up freedom is bounded: it is not the algebra's way out."""
    kinds = [{e.kind for e in random_program(seed).solver.events} for seed in range(PROGRAMS)]
    assert sum(not k for k in kinds) > 0.45 * PROGRAMS
    assert sum("conflict" in k for k in kinds) < 0.1 * PROGRAMS
    assert not any("budget" in k for k in kinds)
