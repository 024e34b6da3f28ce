"""Layers: a unit is a whole residual block."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..core.axes import Structure
from ..core.component import register
from ..core.errors import PlanError
from ..core.layout import Layout
from ..core.names import pick
from ..core.types import Member, Target
from .residual import Block, residual_blocks


@register("layers")
class Layers(Structure):
    """Residual blocks: one target of one unit per block, over every parameter of the block.

    Blocks are found by what they do (`residual_blocks`): children of a `ModuleList` or `Sequential`
    that return the shape they are given and, with all weights zero, hand on their input. So a masked
    block is the identity, and `secateur.shrink` takes it out of the network and of its
    configuration. Compare blocks with each other: scope `model`.

    Attributes:
        include: selectors of blocks by name; only these.
        exclude: selectors of blocks to leave alone.
        exact_only: leave out blocks that zero weights do not make an identity, such as those that
            normalise after the sum. Masked, they cut the network; only `shrink` drops them well.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exact_only: bool = True

    @property
    def saves(self) -> bool:
        """Yes."""
        return True

    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """One target per block, shape (1,), in the order of the network."""
        if example is None:
            raise PlanError(
                f"structure '{self.name}' watches the blocks run and needs an input; pass "
                "example=... (a tensor, a tuple of arguments or a dict of keywords)"
            )
        every = {block.name: block for block in residual_blocks(model, example)}
        named = pick(self.include, every, "layer") if self.include else list(every)
        gone = set(pick(self.exclude, every, "layer"))
        blocks = [every[name] for name in named if name not in gone]
        if self.exact_only:
            self._refuse_named(blocks)
            blocks = [block for block in blocks if block.identity]
        if not blocks:
            raise PlanError(
                "no layer is left that may be pruned: none keeps the shape of its input and hands it "
                "on when its weights are zero; exact_only=False takes those that keep the shape"
            )
        return tuple(layer_target(model, block) for block in blocks)

    def _refuse_named(self, blocks: list[Block]) -> None:
        """A block asked for by name is not dropped silently."""
        for block in blocks:
            if not block.identity and block.name in self.include:
                raise PlanError(
                    f"dropping '{block.name}' does not equal masking it ({block.why}); "
                    "exact_only=False prunes it all the same"
                )


def layer_target(model: nn.Module, block: Block) -> Target:
    """A block as a target of one unit."""
    parameters = model.get_submodule(block.name).named_parameters()
    members = tuple(Member(f"{block.name}.{n}", _all_of(p)) for n, p in parameters)
    return Target(block.name, "layers", (1,), members, exact=block.identity, layer=block.name)


def _all_of(tensor: Any) -> Layout:
    """Every element belongs to the one unit."""
    shape = (1, *tensor.shape)
    return Layout(shape, tuple(range(len(shape))), lead=1)
