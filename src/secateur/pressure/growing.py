"""Growing regularisation: what is to go is pushed ever harder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from ..core.axes import Pressure, Weights, wide
from ..core.component import register
from ..core.cost import Counts
from ..core.density import as_density, keep_count
from ..core.layout import one_group
from ..core.select import select
from ..core.types import Groups, Member, Target
from .gradients import Gradients, Strength

Density = Annotated[float, AfterValidator(lambda d: as_density(density=d))]


@register("growing")
class Growing(Pressure):
    """½ λ(t) Σ w² over the units that are to go: λ(t) · w, λ(t) = strength · min(1, t / rise).

    When the push begins, the units outside the `density` with the largest L1 norms of each target are
    marked; nothing else is pushed. Pushed are the weights of the layer that writes the unit.

    Attributes:
        density: fraction of each target's units that is kept; None: as many as the recipe will keep,
            which must follow from sizes alone (a budget shared out evenly).
        strength: λ at its full height.
        rise: share of the push's time in which λ grows, the rest lets the network settle.

    Paper: Wang, Qin, Zhang, Fu 2021, arXiv 2012.09243, GReg-1: λ grows by 1e-4 every few steps up to
    1. GReg-2, which chooses the units by how they shrink under one common push, is not here.
    """

    density: Density | None = None
    strength: Strength = 1.0
    rise: float = Field(default=0.7, gt=0, le=1)

    @property
    def foresees(self) -> bool:
        """Without a density of its own."""
        return self.density is None

    def start(
        self, weights: Weights, targets: tuple[Target, ...], counts: Counts | None = None
    ) -> dict[str, Tensor]:
        """Target -> bool [units], which units are to go."""
        return {t.name: ~_largest(weights, t, self._stay(t, counts)) for t in targets}

    def _stay(self, target: Target, counts: Counts | None) -> int:
        """How many units of a target are not pushed, one at least."""
        if self.density is not None:
            return max(1, keep_count(self.density, target.units))
        assert counts is not None
        return max(1, counts[target.name])

    def gradient(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        progress: float,
        decided: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """λ(progress) · w of the units that are to go."""
        out, now = Gradients(weights), self.strength * min(1.0, progress / self.rise)
        for target in targets:
            for member in _own(target):
                out.add(member, now * decided[target.name])
        return dict(out)


def _own(target: Target) -> list[Member]:
    """The slices of the layer that writes the units."""
    return [m for m in target.members if m.param == target.members[0].param]


def _largest(weights: Weights, target: Target, stay: int) -> Tensor:
    """[units] bool: the `stay` units with the largest sums of absolute weights."""
    parts = [m.layout.matrix(weights[m.param]) for m in _own(target)]
    norms = torch.stack([part.to(wide(part)).abs().sum(1) for part in parts]).sum(0)
    norms = norms.view(target.shape)
    groups = Groups(
        {target.name: one_group(target.shape)}, {target.name: 0}, torch.tensor([target.units])
    )
    return select({target.name: norms}, groups, torch.tensor([stay]))[target.name]
