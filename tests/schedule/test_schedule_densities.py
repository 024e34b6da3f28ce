"""Densities round by round: by hand, and the end that a share of the survivors alone never has."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.allocation import Uniform
from secateur.core.axes import Schedule
from secateur.core.density import keep_count
from secateur.core.errors import PlanError
from secateur.core.layout import whole
from secateur.core.select import select
from secateur.core.types import Member, Target
from secateur.schedule import Cubic, Exponential, Iterative, Never, OneShot, Regrow, Repeat
from secateur.scope import Model

RESNET18 = 11_173_962


def densities(schedule: Schedule, total: int = 1000) -> list[float]:
    return [u.density for u in schedule.updates(100, total) if u.density is not None]


def steps(schedule: Schedule, steps_per_epoch: int = 100, total: int = 1000) -> list[int]:
    return [u.step.steps(1, 0) for u in schedule.updates(steps_per_epoch, total)]


def test_one_shot() -> None:
    assert densities(OneShot(density=0.1)) == [0.1]
    assert steps(OneShot(density=0.1)) == [1000]
    assert steps(OneShot(density=0.1, at="2ep")) == [200]


def test_never() -> None:
    assert steps(Never()) == []
    assert Never().final_density == 1


def test_the_lottery_ticket_takes_a_fifth_of_the_survivors_per_round() -> None:
    got = densities(Iterative(rate=0.2, rounds=3))
    assert got == pytest.approx([0.8, 0.64, 0.512])
    assert Iterative() == Iterative(rate=0.2, rounds=10)
    assert Iterative().final_density == pytest.approx(0.1073741824)


def test_iterative_to_a_density_in_a_number_of_rounds() -> None:
    assert densities(Iterative(density=0.125, rounds=3)) == pytest.approx([0.5, 0.25, 0.125])
    assert densities(Iterative(density=0.1, rounds=7))[-1] == 0.1


def test_iterative_to_a_density_at_a_rate_takes_the_rounds_it_needs() -> None:
    assert densities(Iterative(density=0.3, rate=0.5)) == [0.5, 0.3]
    assert densities(Iterative(density=0.25, rate=0.5)) == [0.5, 0.25]
    assert densities(Iterative(density=0.9, rate=0.5)) == [0.9]
    assert densities(Iterative(density=0.64, rate=0.2)) == [0.8, 0.64]  # no third, empty round
    assert Iterative(density=0.3) == Iterative(density=0.3, rate=0.2)
    assert len(densities(Iterative(density=0.1))) == 11


def test_three_of_three_is_one_too_many() -> None:
    with pytest.raises(PlanError, match="give two, the third follows"):
        Iterative(rate=0.2, rounds=10, density=0.1)


def test_synflow_by_hand() -> None:
    assert densities(Exponential(density=0.01, rounds=2)) == pytest.approx([0.1, 0.01])
    assert steps(Exponential(density=0.01, rounds=3)) == [0, 0, 0]


def test_cubic_by_hand() -> None:
    """s = 0.8 (1 - (1 - t/4)^3) for t = 1 … 4 quarters of the ramp."""
    got = densities(Cubic(density=0.2, begin="0it", end="400it", every="100it"))
    assert got == pytest.approx([0.2 + 0.8 * x for x in (0.421875, 0.125, 0.015625, 0)])
    assert got[-1] == 0.2


def test_cubic_ends_at_its_end_even_between_two_intervals() -> None:
    ramp = Cubic(density=0.2, begin="1ep", end="350it", every="1ep", initial=0.9)
    assert steps(ramp) == [100, 200, 300, 350]
    got = densities(ramp)
    assert got[0] == 0.9
    assert got[1] == pytest.approx(0.2 + 0.7 * 0.6**3)
    assert got[-1] == 0.2


def test_cubic_takes_most_at_first() -> None:
    got = [1.0, *densities(Cubic(density=0.1, end="10ep", every="1ep"))]
    taken = [a - b for a, b in itertools.pairwise(got)]
    assert taken == sorted(taken, reverse=True)


def test_rigl_by_hand() -> None:
    """drop/2 (1 + cos(pi t / T)) at a quarter, half and three quarters of T."""
    updates = list(Regrow(density=0.1, every="1ep", end="4ep", drop=0.3).updates(100, 1000))
    assert [u.step.steps(1, 0) for u in updates] == [0, 100, 200, 300]
    half = math.sqrt(0.5)
    expected = [0, 0.15 * (1 + half), 0.15, 0.15 * (1 - half)]
    assert [u.drop for u in updates] == pytest.approx(expected)
    assert {u.density for u in updates} == {0.1}


def test_set_moves_a_constant_share() -> None:
    updates = Regrow(density=0.1, every="1ep", end="4ep", drop=0.3, decay="constant")
    assert [u.drop for u in updates.updates(100, 1000)] == [0, 0.3, 0.3, 0.3]


def test_granet_thins_out_while_it_moves_by_hand() -> None:
    """From 0.5 to 0.1 over three moves: 0.1 + 0.4 (1 - 1/3)^3, 0.1 + 0.4 (1 - 2/3)^3 and 0.1."""
    falling = Regrow(density=0.1, every="1ep", end="4ep", initial=0.5)
    got = densities(falling)
    assert got == pytest.approx([0.5, 0.1 + 0.4 * 8 / 27, 0.1 + 0.4 / 27, 0.1])
    assert got[-1] == falling.final_density
    plain = Regrow(density=0.1, every="1ep", end="4ep").updates(100, 1000)
    assert [u.drop for u in falling.updates(100, 1000)] == [u.drop for u in plain]


def test_regrowing_from_a_later_beginning() -> None:
    assert steps(Regrow(density=0.1, every="1ep", end="4ep", begin="150it")) == [0, 250, 350]


def test_repeat_names_no_density() -> None:
    updates = list(Repeat(rounds=3).updates(100, 1000))
    assert [(u.step.steps(1, 0), u.density) for u in updates] == [(1000, None)] * 3


@pytest.mark.parametrize(
    ("schedule", "moments"),
    [
        (Iterative(rate=0.2, rounds=3, at="2ep", every="150it"), [200, 350, 500]),
        (Exponential(density=0.1, rounds=3, at="50%", every="1ep"), [500, 600, 700]),
        (Repeat(rounds=2, at="0it", every="10%"), [0, 100]),
    ],
)
def test_rounds_spread_over_the_training(schedule: Schedule, moments: list[int]) -> None:
    assert steps(schedule) == moments


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 1), st.integers(1, 300))
def test_the_end_is_exact_for_every_number_of_rounds(density: float, rounds: int) -> None:
    for schedule in (
        Exponential(density=density, rounds=rounds),
        Iterative(density=density, rounds=rounds),
    ):
        got = densities(schedule)
        assert len(got) == rounds
        assert got[-1] == density
        assert all(0 < d <= 1 for d in got)
        assert keep_count(got[-1], RESNET18) == keep_count(density, RESNET18)


@pytest.mark.parametrize("rounds", [1, 10, 20, 100, 1000])
def test_a_hundred_rounds_cannot_remove_everything(rounds: int) -> None:
    """A fifth of the survivors every round, with no end named, is what an earlier study ran.

    On ResNet-18 it keeps 1,199,793 weights after 10 rounds, 128,825 after 20 and none after 100.
    A schedule that names its end keeps 1 % of them however many rounds it takes.
    """
    naive = RESNET18
    for _ in range(rounds):
        naive = math.floor(naive * 0.8)
    assert naive == {1: 8939169, 10: 1199793, 20: 128825, 100: 0, 1000: 0}[rounds]
    last = densities(Exponential(density=0.01, rounds=rounds))[-1]
    assert keep_count(last, RESNET18) == 111_740
    last = densities(Iterative(density=0.01, rounds=rounds))[-1]
    assert keep_count(last, RESNET18) == 111_740


@pytest.mark.parametrize("rounds", [1, 100])
def test_a_hundred_selections_end_at_the_exact_count(rounds: int) -> None:
    """The same through real selections: scores anew in every round, what is gone stays gone."""
    target = Target("w", "weights", (40, 50), (Member("w", whole((40, 50))),), ("out", "in"))
    groups = Model().groups((target,))
    mask = torch.ones(40, 50, dtype=torch.bool)
    rng = torch.Generator().manual_seed(0)
    counts = []
    for density in densities(Exponential(density=0.013, rounds=rounds)):
        score = {"w": torch.rand(40, 50, generator=rng).masked_fill(~mask, -math.inf)}
        after = select(score, groups, Uniform().keep(score, groups, density, None))["w"]  # type: ignore[arg-type]
        assert not bool((after & ~mask).any())
        mask = after
        counts.append(int(mask.sum()))
    assert counts[-1] == 26
    assert counts == sorted(counts, reverse=True)
