"""Fast at first and ever slower, while the network trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import START, Time, TimeField
from ..core.types import Update
from .checks import Density
from .moments import at_step, check_span, span, stride


@register("cubic")
class Cubic(Schedule):
    """d_t = density + (initial - density) (1 - (t - begin) / (end - begin))^3.

    In the paper's words s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))^3 with sparsities
    s = 1 - d, Δt = `every`. Updates are at begin + every, begin + 2 every, … and exactly at `end`,
    also where the interval does not divide the span; and at `begin` where `initial` is below 1.

    Attributes:
        density: fraction kept from `end` on, in (0, 1].
        begin, end: of the ramp.
        every: the time between updates.
        initial: density at `begin`.

    >>> [(str(u.step), u.density) for u in Cubic(density=0.25, end="2it", every="1it").updates(1, 4)]
    [('1it', 0.34375), ('2it', 0.25)]

    Paper: Zhu & Gupta 2017, arXiv 1710.01878.
    """

    density: Density
    begin: TimeField = START
    end: TimeField = Time(75, "%")
    every: TimeField = Time(100, "it")
    initial: Density = 1.0

    power: ClassVar[int] = 3

    @model_validator(mode="after")
    def _sane(self) -> Cubic:
        check_span(self, self.begin, self.end, self.every)
        if self.initial < self.density:
            raise PlanError(
                f"schedule '{self.name}': initial={self.initial:g} is below density={self.density:g}; "
                "a ramp falls"
            )
        return self

    @property
    def final_density(self) -> float:
        """The density asked for."""
        return self.density

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """The ramp's updates."""
        begin, end = span(self, steps_per_epoch, total)
        gap = stride(self, self.every, steps_per_epoch, total)
        if self.initial < 1:
            yield at_step(begin, self.initial)
        for step in range(begin + gap, end, gap):
            left = 1 - (step - begin) / (end - begin)
            yield at_step(step, self.density + (self.initial - self.density) * left**self.power)
        yield at_step(end, self.density)
