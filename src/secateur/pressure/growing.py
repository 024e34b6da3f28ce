"""Growing regularisation: what is to go is pushed ever harder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from ..core.axes import wide
from ..core.component import register
from ..core.cost import Counts
from ..core.density import as_density, keep_count
from ..core.layout import one_group
from ..core.select import select
from ..core.training import Draw, Pressure, Weights
from ..core.types import Groups, Member, Target
from .gradients import Gradients, Strength

Density = Annotated[float, AfterValidator(lambda d: as_density(density=d))]


@register("growing")
class Growing(Pressure):
    """½ λ(t) Σ w² over the units that are to go: λ(t) · w, λ(t) = strength · min(1, t / rise).

    When the push begins, units of each target are marked: those outside the `density` with the largest L1
    norms, or as many by chance. Nothing else is pushed. Pushed are the weights of the layer that writes the
    unit. Criterion `learned` takes out exactly what is marked.

    Attributes:
        density: fraction of each target's units that is kept; None: as many as the recipe will keep,
            which must follow from sizes alone (a budget shared out evenly).
        strength: λ at its full height.
        rise: share of the push's time in which λ grows, the rest lets the network settle.
        by: what is marked, the smallest by `norm` or any by `chance`.

    Paper: Wang, Qin, Zhang, Fu 2021, arXiv 2012.09243, GReg-1: λ grows by 1e-4 every few steps up to
    1. GReg-2, which chooses the units by how they shrink under one common push, is not here. By chance: Bai,
    Wang, Tao, Li, Fu 2022, arXiv 2203.04248.
    """

    density: Density | None = None
    strength: Strength = 1.0
    rise: float = Field(default=0.7, gt=0, le=1)
    by: Literal["norm", "chance"] = "norm"

    marks: ClassVar[bool] = True

    @property
    def foresees(self) -> bool:
        """Without a density of its own."""
        return self.density is None

    def start(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        counts: Counts | None = None,
        draw: Draw | None = None,
    ) -> dict[str, Tensor]:
        """Target -> bool [units], which units are to go."""
        out = {}
        for target in targets:
            worth = (
                _norms(weights, target) if self.by == "norm" else _chances(weights, target, draw)
            )
            out[target.name] = ~_largest(worth, target, self._stay(target, counts))
        return out

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


def _norms(weights: Weights, target: Target) -> Tensor:
    """[target.shape] sums of absolute weights."""
    parts = [m.layout.matrix(weights[m.param]) for m in _own(target)]
    norms = torch.stack([part.to(wide(part)).abs().sum(1) for part in parts]).sum(0)
    return norms.view(target.shape)


def _chances(weights: Weights, target: Target, draw: Draw | None) -> Tensor:
    """[target.shape] random numbers."""
    assert draw is not None
    drawn = torch.rand(target.shape, generator=draw("mark", target.name))
    return drawn.to(weights[target.members[0].param].device)


def _largest(worth: Tensor, target: Target, stay: int) -> Tensor:
    """[target.shape] bool: the `stay` units that are worth most."""
    groups = Groups(
        {target.name: one_group(target.shape)}, {target.name: 0}, torch.tensor([target.units])
    )
    return select({target.name: worth}, groups, torch.tensor([stay]))[target.name]
