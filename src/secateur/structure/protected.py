"""Protected: any other structure without the first and the last blocks of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.stack import repeated_blocks
from ..core.types import Target
from .coupled import Coupled


@register("protected")
class Protected(Structure):
    """The targets of `inner` but those of the `first` and the `last` repeated blocks.

    A target lies in a block when its layer does. What lies in no block stays as `inner` has it.

    Attributes:
        inner: the structure.
        first, last: blocks at either end that stay whole.
    """

    inner: Structure = Coupled()
    first: int = Field(default=0, ge=0)
    last: int = Field(default=0, ge=0)

    @property
    def traces(self) -> bool:
        """As the inner structure."""
        return self.inner.traces

    @property
    def saves(self) -> bool:
        """As the inner structure."""
        return self.inner.saves

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """The inner targets outside the protected blocks."""
        found = self.inner.targets(model, example)
        blocks = repeated_blocks(model)
        if len(blocks) <= self.first + self.last and self.first + self.last:
            raise PlanError(
                f"{self.first} first and {self.last} last blocks are protected, but the network has "
                f"{len(blocks)}; there is nothing left to prune: protect fewer (options first and last)"
            )
        safe = blocks[: self.first] + blocks[len(blocks) - self.last :]
        left = tuple(target for target in found if not _within(target, safe))
        if not left:
            raise PlanError("every structure lies in a protected block; nothing is left to prune")
        return left

    def absent(self, targets: Sequence[Target]) -> tuple[str, ...]:
        """As the inner structure."""
        return self.inner.absent(targets)

    def trace(self, model: nn.Module, example: object = None) -> Any:
        """As the inner structure."""
        return self.inner.trace(model, example)


def _within(target: Target, blocks: list[str]) -> bool:
    return any(target.layer == block or target.layer.startswith(f"{block}.") for block in blocks)
