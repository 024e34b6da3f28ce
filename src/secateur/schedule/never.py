"""No pruning at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from ..core.axes import Schedule
from ..core.component import register
from ..core.types import Update


@register("never")
class Never(Schedule):
    """No update: the dense network, which every other run is compared with."""

    prunes: ClassVar[bool] = False

    @property
    def final_density(self) -> float:
        """1: everything stays."""
        return 1.0

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """None."""
        return iter(())
