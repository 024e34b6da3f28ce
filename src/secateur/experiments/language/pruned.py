"""What pruning a subject gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from ...core.errors import PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pruned:
    """A pruned model, what it lost by structure, how it was delivered and won back.

    Attributes:
        model: able to generate text.
        layers: structure -> (units removed, units there were).
        level, error: as `shrink` has them; `masks` where nothing could be taken out.
        recovery: what each recovery cost and gained.
    """

    model: PreTrainedModel
    layers: dict[str, tuple[int, int]]
    level: str
    error: float
    recovery: tuple[dict[str, Any], ...] = ()


def checked(model: nn.Module, level: str) -> PreTrainedModel:
    """A model that can generate text, in evaluation mode; a graph cannot."""
    if not hasattr(model, "generate"):
        raise PlanError(
            f"what is left is a graph (level {level}) that cannot generate text; prune other structures"
        )
    return cast("PreTrainedModel", model.eval())
