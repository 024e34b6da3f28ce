"""Trying how many units stay of each group on the run's data, before anything is pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Trial(Protocol):
    """Masks the network by budgets, one after the other, and says how far its outputs move or are wrong."""

    @property
    def samples(self) -> int:
        """How many samples there are to try on, numbered from 0."""

    def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        """For each candidate the mean of KL(p ‖ q) over the predictions for some samples; lower is better.

        p: what the network predicts as it is; q: with the best units of each group alone, as the
        recipe chooses them. A candidate whose outputs are not finite is infinitely far.

        Args:
            candidates: each [G] int64, how many units of each group stay.
            chosen: numbers of samples, the same for all candidates.
        """

    def errors(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        """For each candidate the share of predictions for some samples that are not their label.

        A prediction is the class (or token) with the largest score; one that is not finite is wrong.
        """

    def resume(self, words: str) -> dict[str, Any]:
        """What `reached` was told last by a killed run of the same `words`; else empty."""

    def reached(self, words: str, state: dict[str, Any]) -> None:
        """Keep plain data to go on from, and tell whoever watches the run."""

    def note(self, **facts: object) -> None:
        """Say something of the search that the record is to hold (plain data)."""
