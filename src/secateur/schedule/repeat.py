"""Again and again, for allocators that find the density by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.component import register
from ..core.time import END, TimeField
from ..core.types import Update
from .checks import Rounds
from .moments import at_step, check_rounds, rounds_at


@register("repeat")
class Repeat(Schedule):
    """`rounds` updates that name no density: the allocator decides how much goes (Han's threshold,
    or the part of a budget that is due by then).

    Attributes:
        rounds: how many.
        at: the moment of the first round.
        every: the time between rounds; None = all at `at`, each with its recovery.
    """

    rounds: Rounds = 1
    at: TimeField = END
    every: TimeField | None = None

    @model_validator(mode="after")
    def _interval(self) -> Repeat:
        check_rounds(self, self.at, self.every)
        return self

    @property
    def final_density(self) -> None:
        """None: found, not asked for."""
        return

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """One update per round, without a density."""
        steps = rounds_at(self, self.every, self.rounds, steps_per_epoch, total)
        for number, step in enumerate(steps, start=1):
            yield replace(at_step(step, None), progress=number / self.rounds)
