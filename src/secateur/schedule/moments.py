"""Typed times as optimiser steps within the training, or an error that says what does not fit."""

from __future__ import annotations

from ..core.axes import Schedule
from ..core.errors import PlanError, Untrained
from ..core.time import Time
from ..core.types import Across, Update


def at_step(step: int, density: float | None, drop: float = 0.0, across: Across = "none") -> Update:
    """An update at an absolute optimiser step."""
    return Update(Time(step, "it"), density, drop, across=across)


def moment(schedule: Schedule, field: str, steps_per_epoch: int, total: int) -> int:
    """The step of the time in `field`; past the end of training is an error."""
    time: Time = getattr(schedule, field)
    step = time.steps(steps_per_epoch, total)
    if step > total:
        needs_training(schedule, total)
        raise PlanError(
            f"schedule '{schedule.name}': {field}={time} is step {step}, after the training's "
            f"end at step {total}; choose an earlier time or train longer"
        )
    return step


def stride(schedule: Schedule, every: Time, steps_per_epoch: int, total: int) -> int:
    """The steps between two updates, at least one."""
    needs_training(schedule, total)
    steps = every.steps(steps_per_epoch, total)
    if steps < 1:
        raise PlanError(
            f"schedule '{schedule.name}': every={every} is no step of a training of {total} "
            "steps; choose a longer interval, at least 1it"
        )
    return steps


def rounds_at(
    schedule: Schedule, every: Time | None, rounds: int, steps_per_epoch: int, total: int
) -> list[int]:
    """The steps of `rounds` updates: all at `schedule.at`, or from there on at every `every`."""
    first = moment(schedule, "at", steps_per_epoch, total)
    if every is None:
        return [first] * rounds
    gap = stride(schedule, every, steps_per_epoch, total)
    last = first + (rounds - 1) * gap
    if last > total:
        raise PlanError(
            f"schedule '{schedule.name}': {rounds} rounds from step {first}, one every {gap}, end at "
            f"step {last}, after the training's end at step {total}; take fewer rounds or a "
            "shorter interval"
        )
    return list(range(first, last + 1, gap))


def span(schedule: Schedule, steps_per_epoch: int, total: int) -> tuple[int, int]:
    """The steps of `begin` and `end`, the end later."""
    needs_training(schedule, total)
    begin = moment(schedule, "begin", steps_per_epoch, total)
    end = moment(schedule, "end", steps_per_epoch, total)
    if end <= begin:
        raise PlanError(
            f"schedule '{schedule.name}': end {_at(schedule, 'end', end)} is not after begin "
            f"{_at(schedule, 'begin', begin)} in a training of {total} steps; move them apart, "
            "or train longer"
        )
    return begin, end


def needs_training(schedule: Schedule, total: int) -> None:
    """Refuse a schedule that goes on while the network trains where nothing trains."""
    if total == 0:
        raise Untrained(
            f"schedule '{schedule.name}' prunes while the network trains",
            ", or choose a method that prunes at once, such as one with schedule 'one-shot'",
        )


def _at(schedule: Schedule, field: str, step: int) -> str:
    return f"{getattr(schedule, field)} (step {step})"


def check_span(schedule: Schedule, begin: Time, end: Time, every: Time) -> None:
    """What is wrong whatever the length of the training, found when the schedule is made."""
    if begin.unit == end.unit and end.value <= begin.value:
        raise PlanError(
            f"schedule '{schedule.name}': end={end} is not after begin={begin}; swap or move them"
        )
    check_every(schedule, every)


def check_rounds(schedule: Schedule, at: Time, every: Time | None) -> None:
    """Rounds apart from each other need an interval, and training after the first."""
    if every is None:
        return
    check_every(schedule, every)
    if at.unit == "%" and at.value >= 100:
        raise PlanError(
            f"schedule '{schedule.name}': at={at} is the end of training, which leaves no time for "
            f"every={every}; give an earlier `at` or leave `every` out"
        )


def check_every(schedule: Schedule, every: Time) -> None:
    """An interval of nothing never moves on."""
    if every.value == 0:
        raise PlanError(
            f"schedule '{schedule.name}': every={every} never moves on; give an interval, e.g. 100it"
        )
