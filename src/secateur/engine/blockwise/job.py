"""What is to be done to the blocks of a model, and what has been done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...core.recipe import Recipe
from ...core.types import Target, Update
from ..view import ModelView, Stats
from .blocks import Block
from .conductor import Batch
from .timing import Clock

Survey = dict[str, list[float]]
"""What was found on the dense model before the first block is pruned, by a name of its own."""


@dataclass(frozen=True)
class Job:
    """What is to be done to every block.

    Attributes:
        recipe: the method.
        update: the density to reach.
        targets: of the whole model; those of a block are pruned when its turn comes.
        batches: calibration data, each the keywords of one call of the model.
        seed, round: what all randomness derives from.
        first: whether this is the first update of the run.
        masks: the masks so far; None = everything is kept.
    """

    recipe: Recipe
    update: Update
    targets: tuple[Target, ...]
    batches: Sequence[Batch]
    seed: int = 0
    round: int = 0
    first: bool = True
    masks: Mapping[str, Tensor] | None = None

    def view(
        self,
        model: nn.Module,
        targets: tuple[Target, ...],
        stats: Stats,
        surveyed: Survey | None = None,
    ) -> ModelView | None:
        """A view of some targets; None where there are none."""
        if not targets:
            return None
        masks = None if self.masks is None else {t.name: self.masks[t.name] for t in targets}
        return ModelView(
            model, targets, masks, stats, self.seed, self.round, self.targets, surveyed
        )

    def kept(self, target: Target, device: torch.device) -> Tensor:
        """The mask of a target that is left as it is."""
        if self.masks is not None:
            return self.masks[target.name]
        return torch.ones(target.shape, dtype=torch.bool, device=device)

    def of(self, block: Block) -> tuple[Target, ...]:
        """The targets that lie in a block."""
        return tuple(t for t in self.targets if lies_in(t, block))


def lies_in(target: Target, block: Block) -> bool:
    """Whether a block owns all of a target."""
    return all(block.owns(member.param) for member in target.members)


@dataclass
class Walked:
    """What a walk leaves: masks by target, a row of facts for each target, seconds by part."""

    masks: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def clock(self, part: str) -> Clock:
        """A context whose time counts for `part`."""
        return Clock(self.seconds, part)
