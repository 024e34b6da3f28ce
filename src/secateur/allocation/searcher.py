"""Allocators that try candidates on data: where they begin, and between what they look."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from random import Random
from typing import Protocol

from torch import Tensor

from ..core.axes import Allocator, View
from ..core.trial import Trial
from ..core.types import Groups, Scores
from .layers import Counts, Layers

Exchange = Callable[[Counts, int, Random], Counts]
"""(units of each layer, how often, draws) -> the same after layers have given and others have taken."""


class Space(Protocol):
    """All allocations that keep as much as is asked for."""

    @property
    def words(self) -> str:
        """What is asked for, as far as a killed search has to find the same to go on."""

    def keep(self, counts: Counts) -> Tensor:
        """[G] units to keep, from those of each layer."""

    def free(self, counts: Counts) -> bool:
        """Whether there is another allocation than this one."""

    def exchange(self, step: float) -> Exchange:
        """Moves of about `step` of a mean layer."""


class Searcher(Allocator):
    """An allocator that begins with equal shares and tries others."""

    @property
    def tries(self) -> bool:
        """Yes."""
        return True

    @property
    def across_targets(self) -> bool:
        """Units move between layers."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Densities belong to layers, whose rows may compete apart."""
        return frozenset({"tensor", "row"})

    def space(self, layers: Layers, start: Counts) -> Space:
        """What is looked through where a density is given."""
        return layers

    @abstractmethod
    def search(self, space: Space, start: Counts, trial: Trial, view: View) -> Counts:
        """The units that stay of each layer, beginning with those of `start`."""

    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] units to keep."""
        assert density is not None
        layers = Layers.of(view.targets, scores, groups)
        start = layers.even(groups, density)
        space = self.space(layers.bounded(start), start)
        if not space.free(start):
            return space.keep(start)
        return space.keep(self.search(space, start, view.trial(scores, groups), view))
