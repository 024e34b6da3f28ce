"""Densities found by evolution: layers exchange units, and what moves the outputs least survives."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated

import torch
from pydantic import Field

from ..core.axes import View
from ..core.component import register
from ..core.trial import Trial
from .layers import Counts
from .searcher import Searcher, Space

Count = Annotated[int, Field(ge=1)]
MOST_SWITCHES = 3
"""A child differs from its parent by at most so many switches."""
ATTEMPTS = 8
"""How often another child is looked for where one is the parent or a sibling, for each wanted."""


@register("evolution")
class Evolution(Searcher):
    r"""keep = argmin KL(p_dense ‖ p_keep) by an evolutionary search of one parent, (1 + λ).

    The parent begins with the same density for every layer. Each of `offspring` children switches
    levels min(u, v) times, u, v uniform in {1, 2, 3}: one layer gives Δ units, another of the same kind
    takes them, so that every child keeps exactly as many as the parent. Children are tried in stages, each
    on samples that are drawn anew: the best of a stage go on to the next; in the last one the parent
    competes as well, and the best is the next parent. After `generations` it is compared with the start
    on all samples, and the better one stays. Masks of each level are the recipe's own, made once; layers
    are the targets, and within a layer every group has its share.

    Δ = max(1, round(step · n / L)) for n units in the L layers of a kind; at its bounds a layer gives or
    takes what it can, and as many units as it has groups stay (none where a group is one unit, as a
    whole layer is). Within a budget (`to-budget`) the units that go are the fewest that save step · s / L
    or more of its cost, s the sum of what each layer saves by itself at its fewest units. Another layer,
    of whatever kind, takes as many units as the budget has room for, and the others, in an order that is
    drawn, what room is left: no child could keep a unit more.

    Attributes:
        generations, offspring: how long and how broadly is searched.
        stages: of each, on how many samples it tries (at most those there are), and how many go on.
        step: Δ over the mean size of a layer of its kind.

    Paper: Sieberling, Kuznedelev, Kurtic, Alistarh 2025, arXiv 2410.14649. Its script for weights searches
    400 generations of 64 offspring, of which 8, 2 and 1 are left after 2,048, 16,384 and 65,536 tokens (4,
    32 and 128 samples of 512), among levels of SparseGPT that lie a fixed number of weights apart; a layer
    without a level left is passed over. The comparison with the start at the end is this project's.
    """

    generations: Count = 100
    offspring: Count = 16
    stages: tuple[tuple[Count, Count], ...] = Field(((4, 4), (32, 2), (128, 1)), min_length=1)
    step: float = Field(default=0.1, gt=0, le=1)

    def search(self, space: Space, start: Counts, trial: Trial, view: View) -> Counts:
        """The units that stay of each layer."""
        return _Search(self, space, start, trial, view).run()


class _Search:
    """One search from a start."""

    def __init__(
        self, how: Evolution, space: Space, start: Counts, trial: Trial, view: View
    ) -> None:
        self.how, self.space, self.start = how, space, start
        self.trial, self.view = trial, view
        self.exchanged = space.exchange(how.step)

    def run(self) -> Counts:
        """The units that stay of each layer."""
        words = f"{self.how} {self.space.words or self.start}"
        known = self.trial.resume(words)
        parent: Counts = tuple(known.get("counts", self.start))
        tried = int(known.get("tried", 0))
        for number in range(int(known.get("generation", 0)), self.how.generations):
            draw = self._draw(number)
            children = self._children(parent, draw)
            if not children:
                break
            parent, fitness, tries = self._best(children, parent, draw)
            tried += tries
            state = {"generation": number + 1, "of": self.how.generations, "tried": tried}
            self.trial.reached(words, {**state, "divergence": fitness, "counts": list(parent)})
        return self._better(parent, tried)

    def _draw(self, generation: int) -> Random:
        """Randomness of one generation, whatever came before it."""
        rng = self.view.generator("evolution", generation)
        return Random(int(torch.randint(2**62, (1,), generator=rng)))

    def _children(self, parent: Counts, draw: Random) -> list[Counts]:
        """Different ones, none the parent; fewer where so many are not to be found."""
        found: dict[Counts, None] = {}
        for _ in range(ATTEMPTS * self.how.offspring):
            times = min(draw.randint(1, MOST_SWITCHES), draw.randint(1, MOST_SWITCHES))
            child = self.exchanged(parent, times, draw)
            if child != parent:
                found[child] = None
            if len(found) == self.how.offspring:
                break
        return list(found)

    def _best(
        self, children: Sequence[Counts], parent: Counts, draw: Random
    ) -> tuple[Counts, float, int]:
        """The next parent, how far it is in the last stage, and how many candidates were tried."""
        left, found, tried = list(children), [0.0], 0
        for stage, (samples, most) in enumerate(self.how.stages, start=1):
            left += [parent] if stage == len(self.how.stages) else []
            count = min(samples, self.trial.samples)
            found = self._try(left, draw.sample(range(self.trial.samples), count))
            tried += len(left)
            order = sorted(range(len(left)), key=found.__getitem__)[:most]
            left, found = [left[i] for i in order], [found[i] for i in order]
        return left[0], found[0], tried

    def _better(self, end: Counts, tried: int) -> Counts:
        """The end or, where all samples together say so, the start."""
        every = range(self.trial.samples)
        before, after = self._try([self.start, end], every)
        self.trial.note(candidates=tried, start=before, end=min(before, after))
        return end if after <= before else self.start

    def _try(self, candidates: Sequence[Counts], chosen: Sequence[int]) -> list[float]:
        return self.trial([self.space.keep(counts) for counts in candidates], chosen)
