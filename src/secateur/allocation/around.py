"""What allocators around others hand through."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..core.axes import Allocator, View
from ..core.types import Groups, Scores, Target


class Around(Allocator):
    """An allocator that changes the numbers of another, `inner`, and is like it in the rest."""

    inner: Allocator

    @property
    def uses_density(self) -> bool:
        """As what it wraps."""
        return self.inner.uses_density

    @property
    def across_targets(self) -> bool:
        """As what it wraps."""
        return self.inner.across_targets

    def settled(self, multiple: Callable[[], int]) -> Allocator:
        """Around an inner one that is settled."""
        return self.model_copy(update={"inner": self.inner.settled(multiple)})

    @property
    def labelled(self) -> bool:
        """As what it wraps."""
        return self.inner.labelled

    @property
    def by_sizes(self) -> bool:
        """As what it wraps."""
        return self.inner.by_sizes

    @property
    def tries(self) -> bool:
        """As what it wraps."""
        return self.inner.tries

    @property
    def surveys(self) -> bool:
        """As what it wraps."""
        return self.inner.surveys

    def survey(self, scores: Scores, view: View) -> dict[str, list[float]]:
        """What the inner one needs."""
        return self.inner.survey(scores, view)

    def together(self, groups: Groups, every: tuple[Target, ...]) -> Tensor:
        """[G] as what it wraps."""
        return self.inner.together(groups, every)

    def required(self) -> frozenset[str]:
        """What the inner one needs."""
        return self.inner.required()
