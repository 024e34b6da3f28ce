"""Equal shares of the survivors, down to an exact density."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.component import register
from ..core.time import START, TimeField
from ..core.types import Update
from .checks import Density, Rounds
from .moments import at_step, check_rounds, rounds_at


@register("exponential")
class Exponential(Schedule):
    """d_i = density^(i / rounds) after round i = 1 … rounds; the last is exactly `density`.

    The end does not depend on the number of rounds: more rounds are smaller steps to the same
    place. (Removing a fixed share of the survivors every round has no such end: after 100 rounds of
    20 % a fraction of 2e-10 is left, which of 11 million weights is none.)

    Attributes:
        density: fraction kept after the last round, in (0, 1].
        rounds: how many.
        at: the moment of the first round; `0it` = before training.
        every: the time between rounds; None = all at `at`.

    >>> [round(u.density, 4) for u in Exponential(density=0.01, rounds=2).updates(1, 0)]
    [0.1, 0.01]

    Paper: Tanaka et al. 2020, arXiv 2006.05467 (SynFlow, 100 rounds before training).
    """

    density: Density
    rounds: Rounds = 100
    at: TimeField = START
    every: TimeField | None = None

    @model_validator(mode="after")
    def _interval(self) -> Exponential:
        check_rounds(self, self.at, self.every)
        return self

    @property
    def final_density(self) -> float:
        """The density asked for."""
        return self.density

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """One update per round."""
        steps = rounds_at(self, self.every, self.rounds, steps_per_epoch, total)
        densities = [self.density ** (i / self.rounds) for i in range(1, self.rounds)]
        return map(at_step, steps, [*densities, self.density])
