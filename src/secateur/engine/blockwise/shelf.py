"""Where the weights of blocks come from and go to."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from ...structure.free_order import Moves, move
from .activations import Activations, InMemory
from .blocks import Block
from .job import Survey


class Shelf(Protocol):
    """Where the weights of blocks come from and go to."""

    keeps_masks: bool
    """Whether the caller wants all masks; a model on disk has its zeros."""

    def load(self, block: Block, dense: bool = False) -> None:
        """Make the block's weights real: the pruned ones where it is done already, or the `dense`."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """What was recorded of the block when it was pruned; None where that is still to do."""

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Keep the pruned weights for good."""

    def kept(self) -> list[str]:
        """Blocks that an earlier process finished and whose outputs it kept, in order."""

    def room(self, block: str, dense: bool = False) -> Activations:
        """Where what the block gives is to be kept, as it is pruned or as it was."""

    def finished(self, block: Block) -> None:
        """What the block gives is kept, too."""

    def release(self, block: Block) -> None:
        """Let go of the block's weights."""

    def survey(self) -> Survey | None:
        """What an earlier process found on the dense model."""

    def surveyed(self, found: Survey) -> None:
        """Keep what was found on the dense model."""

    def rearrange(self, model: nn.Module, moves: Moves) -> None:
        """Put tensors of the whole model in another order, now or when they are read."""


class InPlace:
    """The shelf of a model that is in memory as a whole: nothing is moved."""

    keeps_masks = True

    def load(self, block: Block, dense: bool = False) -> None:
        """Already there."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """Never done before."""
        return None

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Already there."""

    def kept(self) -> list[str]:
        """None."""
        return []

    def room(self, block: str, dense: bool = False) -> Activations:
        """In memory."""
        return InMemory()

    def finished(self, block: Block) -> None:
        """Nothing to note."""

    def release(self, block: Block) -> None:
        """The model keeps its weights."""

    def survey(self) -> Survey | None:
        """Nothing."""
        return None

    def surveyed(self, found: Survey) -> None:
        """Nothing to note."""

    def rearrange(self, model: nn.Module, moves: Moves) -> None:
        """At once."""
        move(model, moves)
