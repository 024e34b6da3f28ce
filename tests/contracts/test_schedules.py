"""What every schedule promises: falling densities, an exact end, moments inside the training."""

from __future__ import annotations

import itertools

import pytest

from secateur.core.axes import Schedule
from secateur.core.errors import PlanError
from secateur.core.types import Update
from tests.contracts.samples import answers, cases, clear, samples

LENGTHS = ((0, 0), (1, 1), (7, 20), (10, 100), (391, 62560), (100, 99))
ALL = cases(Schedule)


def runs(schedule: Schedule) -> list[tuple[int, list[Update]]]:
    """(total, updates) for every length of training that the schedule fits into."""
    done: list[tuple[int, list[Update]]] = []
    for steps_per_epoch, total in LENGTHS:
        try:
            done.append((total, list(schedule.updates(steps_per_epoch, total))))
        except PlanError as error:
            clear(error, f"'{schedule.name}'")
    return done


@pytest.mark.parametrize("cls", answers(Schedule))
def test_its_plain_form_fits_an_ordinary_training(cls: type[Schedule]) -> None:
    """So that the other tests of this file never pass for want of an answer."""
    schedule = samples(cls)[0]
    assert isinstance(schedule, Schedule)
    assert 62560 in {total for total, _ in runs(schedule)}


@pytest.mark.parametrize("schedule", ALL)
def test_densities_never_rise_and_end_exactly(schedule: Schedule) -> None:
    for _, updates in runs(schedule):
        densities = [u.density for u in updates]
        if schedule.final_density is None:
            assert set(densities) == {None}
            continue
        known = [1.0, *(d for d in densities if d is not None)]
        assert len(known) == len(densities) + 1
        assert all(a >= b for a, b in itertools.pairwise(known))
        assert known[-1] == schedule.final_density


@pytest.mark.parametrize("schedule", ALL)
def test_steps_are_absolute_ordered_and_inside_the_training(schedule: Schedule) -> None:
    for total, updates in runs(schedule):
        assert all(u.step.unit == "it" and u.step.value == int(u.step.value) for u in updates)
        steps = [u.step.value for u in updates]
        assert all(0 <= s <= total for s in steps)
        together = len(set(steps)) <= 1
        assert together or all(a < b for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("schedule", ALL)
def test_only_schedules_that_regrow_drop(schedule: Schedule) -> None:
    for _, updates in runs(schedule):
        assert all(0 <= u.drop < 1 for u in updates)
        assert any(u.drop > 0 for u in updates) == schedule.regrows
        if updates:
            assert updates[0].drop == 0


@pytest.mark.parametrize("schedule", ALL)
def test_the_same_updates_every_time(schedule: Schedule) -> None:
    for total, updates in runs(schedule):
        spe = next(s for s, t in LENGTHS if t == total)
        assert list(schedule.updates(spe, total)) == updates
