"""Scales map values to places; ticks are the values worth naming."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """Values in [low, high] to places in [start, stop]."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def inverse(self, place: float) -> float:
        """The value at a place."""
        share = (place - self.start) / (self.stop - self.start)
        return self.low + share * (self.high - self.low)

    def clamp(self, value: float) -> float:
        """The place of the nearest value on the scale."""
        return self(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Log:
    """Positive values in [low, high], or from high down to low, to places, by their logarithm.

    >>> Log(1, 0.01, 0, 100)(0.1)
    50.0
    """

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)

    def inverse(self, place: float) -> float:
        """The value at a place."""
        share = (place - self.start) / (self.stop - self.start)
        return float(self.low * (self.high / self.low) ** share)

    def clamp(self, value: float) -> float:
        """The place of the nearest value on the scale."""
        least, most = sorted((self.low, self.high))
        return self(min(max(value, least), most))


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers within [low, high].

    >>> nice_ticks(61.3, 95.2, 5)
    [70.0, 80.0, 90.0]
    """
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def spread(places: Sequence[float], gap: float) -> list[int]:
    """Which labels to keep so that any two are `gap` apart; earlier ones are more important.

    >>> spread([0, 5, 50], 20)
    [0, 2]
    """
    kept: list[int] = []
    for index, place in enumerate(places):
        if all(abs(place - places[other]) >= gap for other in kept):
            kept.append(index)
    return sorted(kept)


def density_ticks(high: float, low: float) -> list[float]:
    """Densities worth naming between `high` and `low`, the roundest first.

    >>> density_ticks(1.0, 0.08)
    [1.0, 0.1, 0.5, 0.2]
    """
    decades = range(math.ceil(-math.log10(low)) + 1)
    ranked = [10.0**-d for d in decades]
    ranked += [m * 10.0 ** -(d + 1) for m in (5, 2) for d in decades]
    return [round(d, 12) for d in ranked if low * 0.999 <= d <= high * 1.001]
