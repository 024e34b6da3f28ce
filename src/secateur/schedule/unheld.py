"""What schedules share whose masks do not hold until the end: they are drawn again at equal distances."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.time import Time, TimeField
from .checks import Density
from .moments import check_every


class Unheld(Schedule):
    """Masks of one density, drawn again and again while the network trains; a child says what for.

    Attributes:
        density: fraction kept, in (0, 1].
        every: the time between two drawings, an epoch in the papers.
    """

    holds: ClassVar[bool] = False

    density: Density
    every: TimeField = Time(1, "ep")

    @model_validator(mode="after")
    def _sane(self) -> Unheld:
        check_every(self, self.every)
        return self

    @property
    def final_density(self) -> float:
        """The density asked for."""
        return self.density
