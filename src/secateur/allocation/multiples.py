"""Whole numbers out of given ones: as near as they permit, in all and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray

NEAR = 8
"""How many permitted numbers next to each wanted one are looked at first."""


def permitted(step: int, least: int, most: int) -> list[int]:
    """Multiples of `step` from `least` to `most`, and `most`: a group may stay as it is.

    >>> permitted(8, 1, 30), permitted(8, 1, 6), permitted(1, 2, 4)
    ([8, 16, 24, 30], [6], [2, 3, 4])
    """
    first = -(-least // step) * step
    return [*range(first, most, step), most]


def nearest(wanted: Sequence[int], choices: Sequence[Sequence[int]]) -> list[int]:
    """One number out of each row of choices: |Σ v − Σ wanted| least, then Σ |v − wanted| least.

    Of two totals equally near the smaller one is taken. Each row's numbers nearest to the wanted one
    are tried first; more of them until no total could be nearer, by the greatest common divisor of
    the choices' distances.

    Args:
        wanted: [G] whole numbers.
        choices: [G] ascending permitted numbers.

    >>> nearest([15, 21, 5], [permitted(8, 8, 32), permitted(8, 8, 32), [3, 4, 5, 6]])
    [16, 24, 3]
    """
    best = _nearest_conceivable(sum(wanted), choices)
    most = max(len(row) for row in choices)
    count = NEAR
    while True:
        moves = [
            sorted((v - w for v in row), key=abs)[:count]
            for w, row in zip(wanted, choices, strict=True)
        ]
        off, chosen = _cheapest(moves)
        if abs(off) <= best or count >= most:
            return [w + move for w, move in zip(wanted, chosen, strict=True)]
        count *= 4


def _nearest_conceivable(total: int, choices: Sequence[Sequence[int]]) -> int:
    """How near to the total a sum of choices could be, if only their common divisor counted."""
    base, step = sum(row[0] for row in choices), 0
    for row in choices:
        step = gcd(step, *(v - row[0] for v in row))
    off = (total - base) % step if step else abs(total - base)
    return min(off, step - off) if step else off


def _cheapest(moves: Sequence[Sequence[int]]) -> tuple[int, list[int]]:
    """(sum, moves): one of each row with the sum nearest to 0, then with the least Σ |move|."""
    low = sum(min(0, *row) for row in moves)
    high = sum(max(0, *row) for row in moves)
    cost = np.full(high - low + 1, np.inf)  # [sums]: the least Σ |move| that gets there
    cost[-low] = 0
    taken = []
    for row in moves:
        each = np.stack([_shifted(cost, move) + abs(move) for move in row])  # [moves, sums]
        taken.append(each.argmin(0))
        cost = each.min(0)
    reached = np.flatnonzero(np.isfinite(cost)) + low
    off = int(min(reached, key=lambda s: (abs(s), s)))
    chosen, at = [], off
    for row, which in zip(reversed(moves), reversed(taken), strict=True):
        chosen.append(row[which[at - low]])
        at -= chosen[-1]
    return off, chosen[::-1]


def _shifted(cost: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """cost[s - by] at s, infinite where there is none."""
    out = np.full_like(cost, np.inf)
    if by >= 0:
        out[by:] = cost[: len(cost) - by]
    else:
        out[:by] = cost[-by:]
    return out
