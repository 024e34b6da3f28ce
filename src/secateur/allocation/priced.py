"""Allocations at one cost: what a layer saves, others may spend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from random import Random

from torch import Tensor

from .layers import Counts, Layers
from .searcher import Exchange


@dataclass(frozen=True, eq=False)
class Priced:
    """All allocations that cost at most a limit, and to which no unit can be added within it.

    Attributes:
        layers: sizes and bounds.
        bill: what [G] units cost; more units never cost less.
        limit: the most that may be left.
        words: what is asked for.
        exact: whether every unit of the limit has to be kept (a number of units, which fit always).
    """

    layers: Layers
    bill: Callable[[Tensor], float]
    limit: float
    words: str = ""
    exact: bool = False

    def cost(self, counts: Sequence[int]) -> float:
        """What so many units of each layer cost."""
        return self.bill(self.keep(tuple(counts)))

    def keep(self, counts: Counts) -> Tensor:
        """[G] units to keep."""
        return self.layers.keep(counts)

    def free(self, counts: Counts) -> bool:
        """Whether two layers have a choice."""
        return sum(a < b for a, b in zip(self.layers.least, self.layers.most, strict=True)) > 1

    def exchange(self, step: float) -> Exchange:
        """Moves of `step` · Σ_l s_l / L, s_l: what layer l saves at its fewest units, the others whole."""
        return partial(self._switched, step * sum(self.savings) / len(self.savings))

    @cached_property
    def savings(self) -> tuple[float, ...]:
        """Of each layer what its units beyond the fewest cost in the whole network."""
        whole, most = self.cost(self.layers.most), self.layers.most
        return tuple(
            whole - self.cost((*most[:i], least, *most[i + 1 :]))
            for i, least in enumerate(self.layers.least)
        )

    def _switched(self, worth: float, counts: Counts, times: int, draw: Random) -> Counts:
        """`times` times a layer gives units of that worth, and others take what there is room for."""
        out = counts
        for _ in range(times):
            able = [i for i, n in enumerate(out) if n > self.layers.least[i]]
            if not able:
                break
            giver = draw.choice(able)
            out = self._without(out, giver, worth)
            others = [i for i in range(len(out)) if i != giver]
            out = self.filled(out, [*draw.sample(others, len(others)), giver])
        return out

    def _without(self, counts: Counts, giver: int, worth: float) -> Counts:
        """With fewer units of the giver: the most that save `worth`, or its fewest; one less at least."""
        aim = self.cost(counts) - worth
        low, high = self.layers.least[giver], counts[giver] - 1
        return _put(counts, giver, self._most(counts, giver, low, high, aim))

    def filled(self, counts: Counts, order: Sequence[int]) -> Counts:
        """With as many more units of each layer, in this order, as the limit permits."""
        for i in order:
            n, most = counts[i], self.layers.most[i]
            if n < most:
                counts = _put(counts, i, self._most(counts, i, n, most, self.limit))
        return counts

    def widened(self, counts: Counts, layer: int, wanted: int) -> Counts:
        """With up to `wanted` units of a layer, as many as the limit permits."""
        n = self._most(counts, layer, counts[layer], wanted, self.limit)
        return _put(counts, layer, n)

    def _most(self, counts: Counts, i: int, low: int, high: int, limit: float) -> int:
        """The most units of layer i, `low` to `high`, that cost no more; `low` where none fit."""
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.cost(_put(counts, i, middle)) <= limit
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def scaled(self, counts: Counts, limit: float) -> Counts:
        """The same proportions at another limit: clamp(⌊c · n_l⌋) with the largest c, then filled."""
        other, low, high = replace(self, limit=limit), 0.0, float(max(self.layers.most))
        for _ in range(40):
            middle = (low + high) / 2
            fits = other.cost(other.times(counts, middle)) <= limit
            low, high = (middle, high) if fits else (low, middle)
        return other.filled(other.times(counts, low), range(len(counts)))

    def times(self, counts: Sequence[float], factor: float) -> Counts:
        """⌊c · n_l⌋ within the bounds."""
        bounds = zip(counts, self.layers.least, self.layers.most, strict=True)
        return tuple(min(max(int(factor * n + 1e-9), low), high) for n, low, high in bounds)


def _put(counts: Counts, i: int, n: int) -> Counts:
    return (*counts[:i], n, *counts[i + 1 :])
