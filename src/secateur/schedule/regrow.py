"""Sparse training: drop some survivors and grow as many elsewhere, again and again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import model_validator

from ..core.axes import Schedule
from ..core.component import register
from ..core.errors import PlanError
from ..core.time import START, Time, TimeField
from ..core.types import Across, Update
from .checks import Share
from .moments import at_step, check_span, span, stride


@register("regrow")
class Regrow(Schedule):
    """Sparse from step 0 on; then drop_t of the survivors move at every `every` steps before `end`.

    drop_t = drop / 2 (1 + cos(π t / end)) with the `cosine` decay, drop with `constant`. With `initial`
    the density falls meanwhile: d_t = density + (initial − density) (1 − (t − begin) / (last − begin))³,
    `last` the last move.

    Attributes:
        density: fraction kept after the last update; from the first one on, where `initial` is None.
        initial: fraction kept at step 0.
        every: the time between updates.
        end: no update from here on.
        drop: fraction of the survivors to drop and grow anew, α of the paper.
        decay: how the fraction falls.
        begin: where counting starts: the first move is at begin + every.
        across: `none`, every group of the scope gives and grows by itself; `falling`, what a falling
            density takes is the weakest of all groups, while each moves its own share; `all`, what moves
            is the weakest of all as well, and grows where most survive, in proportion.

    >>> [(str(u.step), round(u.drop, 3)) for u in Regrow(
    ...     density=0.1, every="10it", end="30it", drop=0.4).updates(1, 100)]
    [('0it', 0.0), ('10it', 0.3), ('20it', 0.1)]

    Paper: Evci et al. 2020, arXiv 1911.11134 (RigL); Mocanu et al. 2018, arXiv 1707.04780 (SET,
    `constant`, once per epoch); Liu et al. 2021, arXiv 2106.10404 (GraNet, `initial`, `falling`); Mostafa
    & Wang 2019, arXiv 1902.05967 (DSR, `all`).
    """

    regrows: ClassVar[bool] = True

    density: Share
    every: TimeField = Time(100, "it")
    end: TimeField = Time(75, "%")
    drop: Share = 0.3
    decay: Literal["cosine", "constant"] = "cosine"
    begin: TimeField = START
    initial: Share | None = None
    across: Across = "none"

    @model_validator(mode="after")
    def _sane(self) -> Regrow:
        check_span(self, self.begin, self.end, self.every)
        if self.initial is not None and self.initial < self.density:
            raise PlanError(
                f"schedule 'regrow': initial={self.initial:g} is below density={self.density:g}; "
                "the density falls or stays"
            )
        if self.across == "falling" and self.initial is None:
            raise PlanError(
                "schedule 'regrow': across='falling' says whose weights a falling density takes; give "
                "`initial`, or across='all'"
            )
        return self

    @property
    def final_density(self) -> float:
        """The density asked for."""
        return self.density

    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """The sparse start, then the moves."""
        begin, end = span(self, steps_per_epoch, total)
        gap = stride(self, self.every, steps_per_epoch, total)
        if begin + gap >= end:
            raise PlanError(
                f"schedule 'regrow' would never move a weight: the first move, at step "
                f"{begin + gap}, is not before end={self.end} (step {end}); shorten every={self.every}"
            )
        moves = range(begin + gap, end, gap)
        yield at_step(0, self._density(0.0))
        for step in moves:
            density = self._density((step - begin) / (moves[-1] - begin))
            yield at_step(step, density, self._share(step / end), self.across)

    def _density(self, progress: float) -> float:
        """The fraction kept at `progress` in [0, 1] of the way from `begin` to the last move."""
        initial = self.density if self.initial is None else self.initial
        return self.density + (initial - self.density) * (1 - progress) ** 3

    def _share(self, progress: float) -> float:
        """The fraction to move at `progress` in (0, 1) of the way to `end`."""
        if self.decay == "constant":
            return self.drop
        return self.drop / 2 * (1 + math.cos(math.pi * progress))
