"""Densities, counts, and shares that add up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secateur.core.density import as_density, describe, fill, keep_count, share
from secateur.core.errors import PlanError


def test_either_word_and_never_both() -> None:
    assert as_density(density=0.1) == 0.1
    assert as_density(sparsity=0.9) == 0.1
    assert as_density(sparsity=0) == 1
    for both in ({}, {"density": 0.1, "sparsity": 0.9}):
        with pytest.raises(PlanError, match="exactly one"):
            as_density(**both)


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, math.nan, math.inf])
def test_senseless_sparsities(sparsity: float) -> None:
    with pytest.raises(PlanError, match=r"outside \[0, 1\)"):
        as_density(sparsity=sparsity)


@pytest.mark.parametrize("density", [-0.1, 0, 1.5, math.nan, math.inf])
def test_senseless_densities(density: float) -> None:
    with pytest.raises(PlanError, match=r"outside \(0, 1\]"):
        as_density(density=density)


@pytest.mark.parametrize("word", ["density", "sparsity"])
def test_words_are_no_densities(word: str) -> None:
    with pytest.raises(PlanError, match=f"{word} is a number such as 0.5, not 'half'"):
        as_density(**{word: "half"})


def test_both_words_are_printed() -> None:
    assert describe(0.1) == "density 10 % (sparsity 90 %)"


@pytest.mark.parametrize(
    ("density", "n", "k"),
    [(0.5, 8, 4), (0.5, 7, 4), (0.29, 50, 15), (0.1, 4, 0), (0.125, 4, 1), (1, 7, 7), (0.3, 0, 0)],
)
def test_counts_round_halves_up(density: float, n: int, k: int) -> None:
    """0.29 * 50 is 14.499999999999998 in floating point and was meant as 14.5."""
    assert keep_count(density, n) == k


def counts(weights: list[float], total: int, ceiling: list[int], floor: list[int]) -> list[int]:
    return share(
        torch.tensor(weights, dtype=torch.float64),
        total,
        torch.tensor(ceiling),
        torch.tensor(floor),
    ).tolist()


def test_largest_remainder_with_ties_to_the_lower_index() -> None:
    assert counts([1.5, 1.5, 1.0], 4, [9, 9, 9], [0, 0, 0]) == [2, 1, 1]
    assert counts([0.4, 0.4, 1.2], 2, [9, 9, 9], [0, 0, 0]) == [1, 0, 1]
    assert counts([1.6, 1.6, 1.6], 5, [9, 9, 9], [0, 0, 0]) == [2, 2, 1]


def test_what_a_ceiling_refuses_goes_to_the_others_in_proportion() -> None:
    assert counts([10.0, 4.0, 2.0], 10, [4, 9, 9], [0, 0, 0]) == [4, 4, 2]


def test_what_a_floor_takes_comes_from_the_others_in_proportion() -> None:
    assert counts([1.0, 8.0, 4.0], 13, [9, 9, 9], [4, 0, 0]) == [4, 6, 3]


def test_weights_of_zero_are_served_last() -> None:
    assert counts([0.0, 3.0], 5, [9, 4], [0, 0]) == [1, 4]


@pytest.mark.parametrize(("total", "floor"), [(7, [0, 0]), (1, [1, 1]), (2, [4, 0])])
def test_what_cannot_be_is_refused(total: int, floor: list[int]) -> None:
    with pytest.raises(PlanError, match="cannot keep"):
        counts([1.0, 1.0], total, [3, 3], floor)


bounded = st.lists(
    st.tuples(
        st.floats(0, 50),  # weight
        st.integers(0, 20),  # floor
        st.integers(0, 20),  # room above it
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(bounded, st.floats(0, 1))
def test_shares_are_whole_bounded_exact_and_follow_the_weights(
    groups: list[tuple[float, int, int]], where: float
) -> None:
    weights = torch.tensor([w for w, _, _ in groups], dtype=torch.float64)
    floor = torch.tensor([f for _, f, _ in groups])
    ceiling = floor + torch.tensor([r for _, _, r in groups])
    total = int(floor.sum()) + round(where * int((ceiling - floor).sum()))
    got = share(weights, total, ceiling, floor)
    assert int(got.sum()) == total
    assert bool(((got >= floor) & (got <= ceiling)).all())
    assert bool(((got - fill(weights, total, floor, ceiling)).abs() < 1.5).all())


@settings(max_examples=80, deadline=None)
@given(bounded, st.floats(0, 1))
def test_filling_is_one_factor_for_all_that_no_bound_holds(
    groups: list[tuple[float, int, int]], where: float
) -> None:
    """The factor found by bisection, to compare with."""
    weights = torch.tensor([w for w, _, _ in groups], dtype=torch.float64)
    floor = torch.tensor([f for _, f, _ in groups])
    ceiling = floor + torch.tensor([r for _, _, r in groups])
    assume(bool((weights > 1e-3).all()))
    total = int(floor.sum()) + round(where * int((ceiling - floor).sum()))
    got = fill(weights, total, floor, ceiling)
    if abs(float(weights.clamp(floor, ceiling).sum()) - total) <= 0.5:
        assert torch.equal(got, weights.clamp(floor, ceiling))  # a factor of 1 will do
        return
    low, high = 0.0, 1e5
    for _ in range(80):
        middle = (low + high) / 2
        over = float((middle * weights).clamp(floor, ceiling).sum()) > total
        low, high = (low, middle) if over else (middle, high)
    torch.testing.assert_close(got, (low * weights).clamp(floor, ceiling), rtol=1e-6, atol=1e-6)


def test_large_numbers_stay_exact() -> None:
    size = torch.tensor([25_000_001, 1, 24_999_999, 7])
    for density in (1 / 3, 0.1, 0.999999):
        total = keep_count(density, int(size.sum()))
        assert int(share(size.double() * density, total, size).sum()) == total
