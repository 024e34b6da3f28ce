"""What a network costs by the units that stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Counts = Mapping[str, int]
"""Target name -> how many of its units stay."""


class Cost(Protocol):
    """What the whole network costs when only some units stay."""

    unit: str
    whole: float
    """Of the network with all its units."""

    def __call__(self, counts: Counts) -> float:
        """The cost, exact or predicted."""

    def measured(self, counts: Counts) -> float | None:
        """The same measured end to end where the cost is a prediction, None where it is exact."""


Costs = Mapping[str, Cost]
"""`macs`, `parameters`, `megabytes`, `latency` -> cost, found when it is asked for."""
