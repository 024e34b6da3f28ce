"""k-means of numbers on a line."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Init = Literal["linear", "density", "random"]
Values = npt.NDArray[np.float64]


def first_centroids(ordered: Values, k: int, init: Init, rng: np.random.Generator) -> Values:
    """[k] where k-means begins.

    `linear`: in equal steps from the least value to the largest. `density`: where the share of values up
    to them goes up in equal steps. `random`: k of the values (Forgy).
    """
    if init == "linear":
        return np.linspace(ordered[0], ordered[-1], k)
    if init == "density":
        return np.quantile(ordered, (np.arange(k) + 0.5) / k)
    return np.sort(rng.choice(ordered, k, replace=False))


def k_means(ordered: Values, centroids: Values, most: int = 300) -> Values:
    """[k] centroids after Lloyd's steps, until nothing changes or `most` are done.

    A step gives every value to the nearest centroid and sets each to the mean of its values, which
    never lets Σ (value - centroid)² grow. A centroid without values stays where it is.

    Args:
        ordered: [n] in ascending order.
        centroids: [k] to begin with.
        most: steps.

    >>> k_means(np.array([0.0, 1.0, 8.0, 9.0]), np.array([0.0, 9.0])).tolist()
    [0.5, 8.5]
    """
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    centroids = np.sort(centroids)
    for _ in range(most):
        edges = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate(([0], edges, [ordered.size]))
        count = np.diff(edges)
        mean = np.diff(sums[edges]) / np.maximum(count, 1)
        moved = np.where(count > 0, mean, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def nearest(values: Values, centroids: Values) -> npt.NDArray[np.int64]:
    """[n] the number of each value's nearest centroid, of `[k]` in ascending order."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
