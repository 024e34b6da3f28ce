"""How many units each layer keeps, as plain numbers that are moved between layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import torch
from torch import Tensor

from ..core.density import share
from ..core.types import Groups, Scores, Target
from .budget import alive, total
from .patterns import span

Counts = tuple[int, ...]
"""Units that stay of each layer."""


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers between which a fixed number of units is shared out, each cut into groups.

    Attributes:
        size, left: [G] units of each group, and those that are there.
        spans: of each layer, its groups.
        least, most: units that a layer keeps at least and at most.
        kinds: of each layer's units; a head is no neuron, so that only like is exchanged for like.
    """

    size: Tensor
    left: Tensor
    spans: tuple[slice, ...]
    least: Counts
    most: Counts
    kinds: tuple[str, ...]
    _known: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, targets: tuple[Target, ...], scores: Scores, groups: Groups) -> Layers:
        """A unit at least stays of each group, where a group is more than one unit."""
        left = alive(scores, groups)
        spans = tuple(span(groups, target) for target in targets)
        least = ((groups.size > 1) & (left > 0)).long()
        sums = [tuple(int(of[at].sum()) for at in spans) for of in (least, left)]
        return cls(groups.size, left, spans, sums[0], sums[1], tuple(t.kind for t in targets))

    def even(self, groups: Groups, density: float) -> Counts:
        """The same density for each, as far as its units are left; the total is exact."""
        size = torch.tensor([int(self.size[at].sum()) for at in self.spans])
        wanted = total(groups, density)
        return tuple(share(size.double() * density, wanted, torch.tensor(self.most)).tolist())

    def held(self, least: Tensor) -> Layers:
        """With [G] units of each group that stay whatever happens."""
        held = [int(least[at].sum()) for at in self.spans]
        return replace(self, least=tuple(map(max, self.least, held)))

    def bounded(self, start: Counts) -> Layers:
        """With nothing asked of a layer that it does not have at the start."""
        return replace(self, least=tuple(map(min, self.least, start)))

    def counts(self, keep: Tensor) -> Counts:
        """Units of each layer, from [G] those of its groups."""
        return tuple(int(keep[at].sum()) for at in self.spans)

    def keep(self, counts: Counts) -> Tensor:
        """[G] units to keep: each layer's among its groups, in proportion."""
        return torch.cat([self._spread(i, count) for i, count in enumerate(counts)])

    def _spread(self, layer: int, count: int) -> Tensor:
        """[groups of the layer] units to keep, worked out once."""
        if (layer, count) not in self._known:
            at = self.spans[layer]
            self._known[layer, count] = share(self.size[at].double(), count, self.left[at])
        return self._known[layer, count]

    def steps(self, share: float) -> Counts:
        """Of each layer how many units move at once: a share of the mean layer of its kind, one at least."""
        sizes = [int(self.size[at].sum()) for at in self.spans]
        kinds = {
            kind: [n for n, k in zip(sizes, self.kinds, strict=True) if k == kind]
            for kind in self.kinds
        }
        return tuple(max(1, round(share * sum(kinds[k]) / len(kinds[k]))) for k in self.kinds)

    def free(self, counts: Counts) -> bool:
        """Whether one layer can give and another take."""
        return any(self._takers(counts, giver) for giver in self._givers(counts))

    @property
    def words(self) -> str:
        """Where it starts says all."""
        return ""

    def exchange(self, step: float) -> Callable[[Counts, int, Random], Counts]:
        """Moves of as many units, `steps`."""
        steps = self.steps(step)
        return lambda counts, times, draw: self.switched(counts, steps, times, draw)

    def switched(self, counts: Counts, steps: Counts, times: int, draw: Random) -> Counts:
        """`times` times units leave one layer for another: a step, or as many as bounds let move."""
        out = list(counts)
        for _ in range(times):
            giver = draw.choice(self._givers(out))
            if takers := self._takers(out, giver):
                taker = draw.choice(takers)
                moved = min(
                    steps[giver], out[giver] - self.least[giver], self.most[taker] - out[taker]
                )
                out[giver] -= moved
                out[taker] += moved
        return tuple(out)

    def _givers(self, counts: Sequence[int]) -> list[int]:
        return [i for i, n in enumerate(counts) if n > self.least[i]]

    def _takers(self, counts: Sequence[int], giver: int) -> list[int]:
        """Layers of the giver's kind that have room."""
        return [
            i
            for i, n in enumerate(counts)
            if n < self.most[i] and i != giver and self.kinds[i] == self.kinds[giver]
        ]
