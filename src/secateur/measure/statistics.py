"""What two series of paired times say about their ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import DataError

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A ratio with the confidence interval [low, high] at `level`."""

    ratio: float
    low: float
    high: float
    level: float

    @property
    def verdict(self) -> str:
        """`faster`, `slower`, or `no difference` where the interval includes 1."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "no difference"

    def __str__(self) -> str:
        return f"{self.ratio:.2f}x [{self.low:.2f}, {self.high:.2f}]"


def ratio_interval(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """How many times faster b is than a: median(a) / median(b), with a bootstrap interval.

    ratio = median(a) / median(b);  [low, high] = the (1 ± level)/2 quantiles of the same ratio over
    `resamples` draws of n pairs with replacement (percentile bootstrap, Efron 1979).

    Pairs are drawn, not single times, because the machine's mood is shared within a pair.

    Args:
        a, b: times of the same n runs, side by side: `[n]`, all positive, n ≥ 2.
        level: confidence level.
        resamples: bootstrap draws.
        seed: of the draws.

    >>> ratio_interval([2.0, 2.2, 2.1], [1.0, 1.1, 1.05]).ratio
    2.0
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size < 2:
        raise DataError(
            f"paired times must be two equal lists of 2 or more, not {first.shape} and "
            f"{second.shape}"
        )
    if not (np.all(first > 0) and np.all(second > 0) and np.isfinite([first, second]).all()):
        raise DataError("a measured time is not a positive number; the work is too short to time")
    picks = np.random.default_rng(seed).integers(first.size, size=(resamples, first.size))
    ratios = np.median(first[picks], axis=1) / np.median(second[picks], axis=1)  # [resamples]
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.median(first) / np.median(second)), float(low), float(high), level)
