"""Thresholds and counts of rows, by the fastest exact way on each device.

On a CPU numpy's vectorised quickselect is about twenty times faster than a top-k, and it counts a
bool mask without widening it; elsewhere torch is used. A threshold is a value that occurs in the
row, so that comparing with it is exact.

Equal values are what that quickselect is bad at: ten to twenty times slower where half of a row is equal,
as in the late rounds of iterative pruning, when most of a network is gone (-inf). A row with many ties is
therefore cut at the tied value first, and many rows are sorted, which is faster with ties than without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

SAMPLE = 4096
"""Values looked at to guess whether a row has many ties, and where its threshold lies."""

KNOWN = (torch.float32, torch.float64)
"""What numpy knows as well; it has no bfloat16."""

NEAR = (64, 128)
"""Places of the sample on both sides of the threshold: two deviations of a random one's, else four."""


def kth_rows(score: Tensor, k: Tensor) -> Tensor:
    """The k[g]-th largest of each row.

    Args:
        score: [G, n] float, no NaN.
        k: [G] int64 from 1 to n.

    Returns:
        [G, 1] thresholds, each a value of its row.

    >>> kth_rows(torch.tensor([[3., 1., 2.], [5., 4., 6.]]), torch.tensor([1, 2])).tolist()
    [[3.0], [5.0]]
    """
    rank = score.shape[1] - k  # position in ascending order
    low, high = int(rank.min()), int(rank.max())
    way = _by_numpy if score.device.type == "cpu" else _by_torch
    return way(score, rank, low, high)


def _by_torch(score: Tensor, rank: Tensor, low: int, high: int) -> Tensor:
    """A selection where every row wants the same rank, a full sort of each row otherwise."""
    if low == high:
        return score.kthvalue(low + 1, dim=1, keepdim=True).values
    return score.sort(dim=1).values.gather(1, rank[:, None])


def _by_numpy(score: Tensor, rank: Tensor, low: int, high: int) -> Tensor:
    """The same on a copy, which numpy reorders in place."""
    wide = score.detach() if score.dtype in KNOWN else score.detach().float()
    if low == high and len(wide) == 1:
        return _of_one(wide[0].numpy(), low).to(score.dtype)
    values = wide.clone(memory_format=torch.contiguous_format).numpy()  # reordered in place
    if low == high and _often(_sample(values.reshape(-1))) is None:
        values.partition(low, axis=1)
        found = torch.from_numpy(values[:, low : low + 1].copy())
    else:
        values.sort(axis=1)
        found = torch.from_numpy(values).gather(1, rank[:, None])
    return found.to(score.dtype)


def _of_one(row: Any, rank: int) -> Tensor:
    """[1, 1] the value at a position of one row, [n], in ascending order.

    While many values are equal, the row is cut at the one that seems to occur most.
    """
    left = row
    while (often := _often(some := _sample(left))) is not None:
        below = left < often
        less, more = int(below.sum()), int((left > often).sum())
        if rank < less:
            left = left[below]
        elif rank < len(left) - more:
            return torch.from_numpy(np.full((1, 1), often, row.dtype))
        else:
            rank -= len(left) - more
            left = left[left > often]
    left, rank = _near(left, rank, some)
    left = left.copy() if left is row else left
    left.partition(rank)
    return torch.from_numpy(left[rank : rank + 1].copy()).view(1, 1)


def _near(values: Any, rank: int, some: Any) -> tuple[Any, int]:
    """Those of many values among which the one at `rank` is, and its rank there.

    A sorted sample gives two bounds that have it between them but for unlucky samples, which ask for wider
    ones.
    """
    if len(values) < 16 * SAMPLE:
        return values, rank
    place = rank * len(some) // len(values)
    for near in NEAR:
        low, high = some[max(0, place - near)], some[min(place + near, len(some) - 1)]
        below = int(np.count_nonzero(values < low))
        inside = (values >= low) & (values <= high)
        if below <= rank < below + int(np.count_nonzero(inside)):
            return values.compress(inside), rank - below
    return values, rank


def _sample(values: Any) -> Any:
    """Some values at equal distances, sorted."""
    return np.sort(values[:: max(1, len(values) // SAMPLE)])


def _often(some: Any) -> Any | None:
    """The commonest value of a sorted sample, None where it is not at least one in twenty."""
    if not (some[1:] == some[:-1]).any():
        return None
    distinct, counts = np.unique(some, return_counts=True)
    often = counts.argmax()
    return distinct[often] if 20 * counts[often] >= max(len(some), 40) else None


def at_least(score: Tensor, threshold: Tensor) -> Tensor:
    """bool [G, n]: `score` [G, n] >= `threshold` [G, 1].

    >>> at_least(torch.tensor([[3., 1.], [5., 6.]]), torch.tensor([[2.], [6.]])).tolist()
    [[True, False], [False, True]]
    """
    if score.device.type == "cpu" and score.dtype in KNOWN:  # several times as fast as torch's
        return torch.from_numpy(score.detach().numpy() >= threshold.numpy())
    return score >= threshold


def count_rows(mask: Tensor) -> Tensor:
    """[G] int64 number of True in each row of `mask` [G, n].

    >>> count_rows(torch.tensor([[True, False], [True, True]])).tolist()
    [1, 2]
    """
    if mask.device.type == "cpu":
        bools = mask.numpy()
        counts = bools.sum(1) if len(bools) != 1 else np.array([np.count_nonzero(bools)])
        return torch.from_numpy(counts)
    return mask.sum(1)
