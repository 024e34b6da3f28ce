"""Senseless schedules: refused when they are made, or when they meet a training they do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secateur.core.axes import Schedule
from secateur.core.errors import PlanError
from secateur.schedule import (
    Cubic,
    Exponential,
    Iterative,
    Linear,
    OneShot,
    Regrow,
    Repeat,
    Settled,
    Soft,
)

MADE: list[tuple[Callable[[], Schedule], str]] = [
    (lambda: OneShot(density=0), "outside (0, 1]"),
    (lambda: OneShot(density=1.2), "outside (0, 1]"),
    (lambda: OneShot(density=0.5, at="30"), "has no unit"),
    (lambda: OneShot(), "one-shot needs 'density'"),
    (lambda: Iterative(rate=0), "iterative.rate"),
    (lambda: Iterative(rate=1), "iterative.rate"),
    (lambda: Iterative(rounds=0), "iterative.rounds"),
    (lambda: Iterative(rounds=-1), "iterative.rounds"),
    (lambda: Iterative(density=0), "outside (0, 1]"),
    (lambda: Iterative(every="1ep"), "leaves no time for every=1ep"),
    (lambda: Exponential(density=0.1, rounds=0), "exponential.rounds"),
    (lambda: Exponential(density=0.1, every="0it"), "never moves on"),
    (lambda: Cubic(density=0.1, begin="5ep", end="3ep"), "end=3ep is not after begin=5ep"),
    (lambda: Cubic(density=0.1, begin="5ep", end="5ep"), "end=5ep is not after begin=5ep"),
    (lambda: Cubic(density=0.1, every="0ep"), "never moves on"),
    (lambda: Cubic(density=0.5, initial=0.4), "a ramp falls"),
    (lambda: Repeat(rounds=0), "repeat.rounds"),
    (lambda: Repeat(rounds=2, at="0it", every="0%"), "never moves on"),
    (lambda: Regrow(density=1), "regrow.density"),
    (lambda: Regrow(density=0.1, drop=0), "regrow.drop"),
    (lambda: Regrow(density=0.1, initial=0.05), "initial=0.05 is below density=0.1"),
    (lambda: Regrow(density=0.1, drop=1), "regrow.drop"),
    (lambda: Regrow(density=0.1, every="0it"), "never moves on"),
    (lambda: Regrow(density=0.1, begin="50%", end="20%"), "end=20% is not after begin=50%"),
    (lambda: Regrow(density=0.1, decay="linear"), "regrow.decay"),
]

NOTHING_TRAINS = (
    "prunes while the network trains, but no training was given; pass data=… and training=… (on the "
    "command line --data and --train), or choose a method that prunes at once"
)

MET: list[tuple[Schedule, tuple[int, int], str]] = [
    (OneShot(density=0.5, at="30ep"), (10, 100), "at=30ep is step 300, after the training's end"),
    (OneShot(density=0.5, at="120%"), (10, 100), "step 120, after the training's end at step 100"),
    (Iterative(rounds=3, at="0it", every="60it"), (10, 100), "end at step 120"),
    (Exponential(density=0.1, rounds=100, every="2it"), (10, 100), "end at step 198"),
    (Exponential(density=0.1, rounds=2, every="0.1it"), (10, 100), "every=0.1it is no step"),
    (OneShot(density=0.5, at="30it"), (0, 0), NOTHING_TRAINS),
    (Iterative(rounds=3, at="0it", every="60it"), (0, 0), NOTHING_TRAINS),
    (Exponential(density=0.1, rounds=2, every="1ep"), (0, 0), NOTHING_TRAINS),
    (Repeat(rounds=2, at="0it", every="1ep"), (0, 0), NOTHING_TRAINS),
    (Cubic(density=0.1), (0, 0), NOTHING_TRAINS),
    (Linear(density=0.1), (0, 0), NOTHING_TRAINS),
    (Regrow(density=0.1), (0, 0), NOTHING_TRAINS),
    (Settled(density=0.1), (0, 0), NOTHING_TRAINS),
    (Soft(density=0.1), (0, 0), NOTHING_TRAINS),
    (Cubic(density=0.1, begin="9ep", end="50%"), (10, 100), "or train longer"),
    (Cubic(density=0.1, begin="9ep", end="50%"), (10, 100), "is not after begin 9ep (step 90)"),
    (Cubic(density=0.1, end="11ep"), (10, 100), "after the training's end"),
    (Cubic(density=0.1, every="0.1%"), (10, 100), "every=0.1% is no step"),
    (Regrow(density=0.1), (10, 100), "would never move a weight"),
    (Regrow(density=0.1, every="10it", end="1ep"), (10, 100), "would never move a weight"),
]


@pytest.mark.parametrize(("make", "said"), MADE)
def test_refused_when_made(make: Callable[[], Schedule], said: str) -> None:
    with pytest.raises(PlanError) as error:
        make()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("schedule", "length", "said"), MET)
def test_refused_when_it_meets_the_training(
    schedule: Schedule, length: tuple[int, int], said: str
) -> None:
    with pytest.raises(PlanError) as error:
        list(schedule.updates(*length))
    assert said in str(error.value)
    assert f"'{schedule.name}'" in str(error.value)


def test_every_field_of_time_needs_a_unit() -> None:
    for make in (Iterative, Repeat):
        with pytest.raises(PlanError, match="has no unit"):
            make(at=10)
