"""Which modules of a model are its repeated blocks, found by structure and not by name."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ...core.errors import PlanError

WHOLE = "prune it as a whole with walk='whole' (on the command line --option walk=whole)"
"""The way out where block by block is none."""


@dataclass(frozen=True)
class Block:
    """One repeated block: its path, e.g. `model.layers.3`, and the list it stands in."""

    name: str
    stack: str
    module: nn.Module

    def owns(self, parameter: str) -> bool:
        """Whether a parameter's full name lies in this block."""
        return parameter.startswith(self.name + ".")


def find_blocks(model: nn.Module) -> tuple[Block, ...]:
    """The entries of the outermost module lists whose entries each hold several weight matrices.

    A language model has one such list, an encoder-decoder two; lists inside blocks (experts, for
    example) belong to their block, lists of single layers are no stack of blocks.
    """
    found: list[Block] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(block.name + ".") for block in found)
        if isinstance(module, nn.ModuleList) and len(module) and not inside and _deep(module):
            found += [Block(f"{path}.{i}".lstrip("."), path, m) for i, m in enumerate(module)]
    if not found:
        raise PlanError(
            f"{type(model).__name__} has no list of repeated blocks, of which the block-wise walk needs one; "
            f"{WHOLE}"
        )
    return tuple(found)


def _deep(modules: nn.ModuleList) -> bool:
    """Whether every entry can be called and holds at least two weight matrices in submodules of its own."""
    return all(
        sum(p.dim() >= 2 for p in m.parameters()) >= 2
        and any(True for _ in m.children())
        and not isinstance(m, nn.ModuleList | nn.ModuleDict)
        for m in modules
    )
