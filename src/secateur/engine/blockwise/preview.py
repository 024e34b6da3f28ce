"""What pruning a folder would do, need and leave, before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from torch import nn

from ...core.axes import Reorder
from ...core.recipe import Recipe
from ...core.types import Target
from ...shrinking.asked import can_go
from ..plan import Plan, make_plan
from .blocks import Block, find_blocks
from .folder import one_update
from .reordering import find_sites
from .skeleton import Skeleton, build
from .walk import compares
from .weightless import plan_of


class Sampled(Protocol):
    """How many calibration samples there are to be, and how long."""

    @property
    def samples(self) -> int:
        """How many."""

    @property
    def length(self) -> int:
        """Tokens of each."""

    @property
    def batch(self) -> int:
        """Samples that run together."""


@dataclass(frozen=True)
class Preview:
    """A plan and its needs.

    Attributes:
        plan: targets, groups, budgets.
        blocks: how many, in all passes.
        disk: bytes the output takes, activations on disk included while it runs.
        nonzero: bytes of the output's weights that are not zero (what sparse storage could hold).
        memory: {what: bytes} at the peak, an estimate.
        passes: over the blocks.
        order: what inputs are put in another order; empty where none are.
    """

    plan: Plan
    blocks: int
    disk: int
    nonzero: int
    memory: dict[str, int]
    passes: int = 1
    order: str = ""

    def lines(self) -> Iterator[str]:
        """The preview as text."""
        yield from self.plan.lines()
        if self.order:
            yield self.order
        twice = "" if self.passes == 1 else ", twice: to score them, then to cut them"
        yield f"{self.blocks // self.passes} blocks, one in memory at a time{twice}"
        yield f"disk: {size(self.disk)}; without the zeros {size(self.nonzero)}"
        parts = ", ".join(f"{name} {size(b)}" for name, b in self.memory.items())
        yield f"memory beside the program, about {size(sum(self.memory.values()))}: {parts}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def preview(
    skeleton: Skeleton,
    recipe: Recipe,
    sampled: Sampled,
    activations: Literal["memory", "disk"] = "memory",
) -> Preview:
    """The preview of a recipe on the model of a folder."""
    one_update(recipe)
    return _preview(skeleton, make_plan(skeleton.model, recipe), sampled, activations)


def preview_smaller(
    skeleton: Skeleton,
    recipe: Recipe,
    sampled: Sampled,
    activations: Literal["memory", "disk"] = "memory",
) -> Preview:
    """The same of one whose units are taken out in two passes: what goes takes no room on the disk."""
    plan = plan_of(build(skeleton.shards).eval(), recipe)  # the skeleton's own would read weights
    found = _preview(skeleton, plan, sampled, activations)
    gone = round(skeleton.shards.bytes * (1 - share_left(plan, skeleton.model)))
    left = skeleton.shards.bytes - gone
    return replace(found, blocks=2 * found.blocks, passes=2, disk=found.disk - gone, nonzero=left)


def share_left(plan: Plan, model: nn.Module) -> float:
    """Of the parameters, where every unit of a target weighs the same; 1 where nothing is cut."""
    if plan.keep is None or not can_go(plan.targets):
        return 1.0
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    owned = {m.param for t in plan.targets for m in t.members if m.param in sizes}
    gone = sum(sizes[name] for name in owned) * (1 - plan.keep / plan.units)
    return 1 - gone / sum(sizes.values())


def _preview(
    skeleton: Skeleton, plan: Plan, sampled: Sampled, activations: Literal["memory", "disk"]
) -> Preview:
    recipe = plan.recipe
    blocks = find_blocks(skeleton.model)
    item = skeleton.model.dtype.itemsize
    streams = 2 if compares(recipe) else 1  # the dense network runs beside
    between = 2 * streams * sampled.samples * sampled.length * skeleton.width * item
    between = between if recipe.observed() else 0
    on_disk = activations == "disk"
    one = 2 * streams * sampled.batch * sampled.length * skeleton.width * item
    stored = skeleton.shards.bytes
    gone = plan.units - (plan.keep if plan.keep is not None else plan.units)
    memory = {
        "embedding": _outside(skeleton, blocks),
        "largest block": max(_bytes(block) for block in blocks),
        "its statistics": max(_statistics(recipe, plan.targets, block) for block in blocks),
        "activations": one if on_disk and between else between,
    }
    if streams > 1:
        memory["that block as it was"] = memory["largest block"]
    disk = stored + (between if on_disk else 0)
    found = Preview(plan, len(blocks), disk, stored - gone * item, memory)
    if isinstance(recipe.basis, Reorder):
        sites = find_sites(skeleton.model, blocks, recipe, plan.targets)
        return replace(found, order=sites.line(plan.targets))
    return found


def size(n: int) -> str:
    """Bytes in a unit that suits them.

    >>> size(1_500_000)
    '1.50 MB'
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= scale:
            return f"{n / scale:.2f} {unit}"
    return f"{n} B"


def _bytes(block: Block) -> int:
    return sum(p.numel() * p.element_size() for p in block.module.parameters())


def _outside(skeleton: Skeleton, blocks: tuple[Block, ...]) -> int:
    """The input embedding, which stays in memory."""
    table = skeleton.model.get_input_embeddings()
    inside = any(block.module is table for block in blocks)
    return 0 if inside else sum(p.numel() * p.element_size() for p in table.parameters())


def _statistics(recipe: Recipe, targets: tuple[Target, ...], block: Block) -> int:
    """Gram matrices are what counts; everything else is a vector."""
    total = 0
    for target in (t for t in targets if block.owns(t.name)):
        inputs = target.shape[target.dims.index("in")] if "in" in target.dims else 0
        experts = target.shape[0] if "expert" in target.dims else 1
        squares = len({"input_gram", "input_shift"} & recipe.required())
        gram = inputs * inputs * 4 * squares
        total += experts * (gram + 8 * inputs)
    return total
