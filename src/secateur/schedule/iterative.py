"""A share of the survivors, round after round."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import END, TimeField
from ..core.types import Update
from .checks import Density, Rounds, Share
from .moments import at_step, check_rounds, rounds_at


@register("iterative")
class Iterative(Schedule):
    """d_i = (1 - rate)^i after round i = 1 … rounds: each round removes `rate` of what is left.

    Two of `rate`, `rounds` and `density` say everything; the third follows, and giving all three
    is refused:

    - rate and rounds (0.2 and 10 unless given): the end is (1 - rate)^rounds;
    - density and rounds: every round removes the same share, d_i = density^(i / rounds);
    - density and rate (0.2 unless given): as many rounds as it takes, the last one a smaller step
      that ends exactly at `density`.

    Attributes:
        rate: fraction of the survivors removed per round, in (0, 1).
        rounds: how many.
        density: fraction kept after the last round, in (0, 1].
        at: the moment of the first round.
        every: the time between rounds; None = all at `at`, each with its recovery.

    >>> [round(d, 4) for d in Iterative(rate=0.5, density=0.2).densities]
    [0.5, 0.25, 0.2]

    Paper: Frankle & Carbin 2019, arXiv 1803.03635 (20 % per round).
    """

    rate: Share | None = None
    rounds: Rounds | None = None
    density: Density | None = None
    at: TimeField = END
    every: TimeField | None = None

    @model_validator(mode="before")
    @classmethod
    def _two_of_three(cls, given: Any) -> Any:
        """Fill in what is not said, so that equal schedules are equal values."""
        if not isinstance(given, dict):
            return given
        said = {k for k in ("rate", "rounds", "density") if given.get(k) is not None}
        if len(said) == 3:
            raise PlanError(
                f"schedule 'iterative': rate={given['rate']}, rounds={given['rounds']} and "
                f"density={given['density']} say one thing too many; give two, the third follows"
            )
        rate = {} if "rate" in said or said == {"rounds", "density"} else {"rate": 0.2}
        rounds = {} if said & {"rounds", "density"} else {"rounds": 10}
        return {**given, **rate, **rounds}

    @model_validator(mode="after")
    def _interval(self) -> Iterative:
        check_rounds(self, self.at, self.every)
        return self

    @property
    def densities(self) -> list[float]:
        """The density after each round; the last is the final density to the last digit."""
        if self.rate is None:
            assert self.rounds is not None
            return [self.final_density ** (i / self.rounds) for i in range(1, self.rounds)] + [
                self.final_density
            ]
        kept = 1 - self.rate
        return [kept**i for i in range(1, self._count(kept))] + [self.final_density]

    def _count(self, kept: float) -> int:
        """Rounds given, or as many as the density takes."""
        if self.rounds is not None:
            return self.rounds
        return max(1, math.ceil(math.log(self.final_density) / math.log(kept) - 1e-9))

    @property
    def final_density(self) -> float:
        """The density asked for, or (1 - rate)^rounds."""
        if self.density is not None:
            return self.density
        assert self.rate is not None
        assert self.rounds is not None
        return float((1 - self.rate) ** self.rounds)

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """One update per round."""
        densities = self.densities
        steps = rounds_at(self, self.every, len(densities), steps_per_epoch, total)
        return map(at_step, steps, densities)
