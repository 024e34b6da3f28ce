"""What pruning returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .types import Target


@dataclass(frozen=True)
class Result:
    """What `prune` returns.

    Attributes:
        model: the pruned network; masks stay in force when it is trained on.
        masks: parameter name -> bool mask, True = kept.
        targets: what could be pruned.
        units: target name -> bool [target.shape], True = kept.
        record: recipe, digest, seed, and one measured point per state the network went through.
    """

    model: nn.Module
    masks: dict[str, Tensor]
    targets: tuple[Target, ...]
    units: dict[str, Tensor]
    record: dict[str, Any]

    @property
    def sparsity(self) -> float:
        """The fraction of prunable units that was removed."""
        return 1 - float(self.record["points"][-1]["density"])
