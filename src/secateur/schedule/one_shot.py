"""Everything at one moment."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.axes import Schedule
from ..core.component import register
from ..core.time import END, TimeField
from ..core.types import Update
from .checks import Density
from .moments import at_step, moment


@register("one-shot")
class OneShot(Schedule):
    """One update to `density` at `at`: `0it` before training, `100%` after it.

    Attributes:
        density: fraction kept, in (0, 1].
        at: the moment, e.g. `0it`, `10ep`, `100%`.
    """

    density: Density
    at: TimeField = END

    @property
    def final_density(self) -> float:
        """The density asked for."""
        return self.density

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """The single update."""
        yield at_step(moment(self, "at", steps_per_epoch, total), self.density)
