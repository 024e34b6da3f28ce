"""Prune block by block: each sees what the pruned blocks before it give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ...core.recipe import Recipe
from ...core.types import Target, element_masks
from ...core.zeroing import zero
from ..collect.observing import OBSERVED
from ..collect.statistics import PAIRED, WATCHED, parse
from ..step import step
from ..view import Stats
from .blocks import Block, find_blocks
from .called import UNCALLED, noting_calls
from .conductor import Conductor
from .gathering import statistics, statistics_beside
from .job import Job, Survey, Walked, lies_in
from .original import Original
from .reordering import Reordering, reordering
from .shelf import InPlace, Shelf
from .stages import stages
from .surveying import survey
from .timing import Progress, Timer


def walk(
    model: nn.Module, job: Job, shelf: Shelf | None = None, tell: Progress | None = None
) -> Walked:
    """Prune every block in the order in which the model calls them.

    For each: load its weights, gather the statistics the recipe needs on what the pruned blocks
    before it give, take the one step with a view of this block, store, and keep what the pruned
    block gives. The statistics of all layers of a block are taken before any of them is pruned, as
    the official codes of SparseGPT and Wanda do; where a statistic compares with the dense network,
    layer by layer in the order in which they run, each on what the pruned layers before it give, and the
    dense blocks run beside the pruned ones. Where the recipe puts inputs in another order, a block's are
    before anything else is looked at.

    Args:
        model: its parameters may be on the meta device where `shelf` brings them.
        shelf: where weights come from and go to; None = the model is in memory.
        tell: called with `{"kind": "block", …}` after every block.
    """
    shelf = shelf if shelf is not None else InPlace()
    blocks = find_blocks(model)
    check(job, blocks)
    done = Walked()
    orders = reordering(model, blocks, job)
    surveyed = survey(model, blocks, job, shelf, done, orders)
    if orders is not None and orders.shared:
        orders.put(model, shelf, surveyed)
    timer = Timer(len(blocks), tell)
    with Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor:
        original = _original(conductor, job, shelf)
        for name in shelf.kept():
            conductor.skip(conductor.blocks[name], shelf.room(name))
            if original is not None:
                original.stream.follow(conductor.blocks[name], shelf.room(name, dense=True))
            done.rows += shelf.rows(conductor.blocks[name]) or []
            timer.skip()
        while (block := conductor.next()) is not None:
            visit = _Visit(conductor, original, block, job, shelf, done, surveyed, orders)
            visit.carry_out()
            timer(block)
    _note_unreached(model, blocks, job, shelf, done)
    return done


def _note_unreached(
    model: nn.Module, blocks: Sequence[Block], job: Job, shelf: Shelf, done: Walked
) -> None:
    """Rows of the blocks that no batch runs through, such as those of an image encoder; they stay."""
    seen = {row["block"] for row in done.rows}
    for block in (b for b in blocks if b.name not in seen):
        for target in job.of(block):
            where = model.get_parameter(target.members[0].param).device
            mask = job.kept(target, torch.device("cpu") if where.type == "meta" else where)
            if shelf.keeps_masks:
                done.masks[target.name] = mask
            done.rows.append(_row(block, target, mask) | {UNCALLED: True})


def _original(conductor: Conductor, job: Job, shelf: Shelf) -> Original | None:
    """The dense network beside the pruned one, where a statistic compares the two."""
    if not compares(job.recipe):
        return None
    return Original(conductor, lambda block: shelf.room(block, dense=True))


def compares(recipe: Recipe) -> bool:
    """Whether a recipe compares what flows through the pruned network with the dense one."""
    return any(parse(name)[0] in PAIRED for name in recipe.required())


def check(job: Job, blocks: Sequence[Block]) -> None:
    """Refuse what cannot be done block by block, before anything is touched."""
    outside = [t.name for t in job.targets if not any(lies_in(t, block) for block in blocks)]
    if outside:
        whole = "with walk='whole'" if job.recipe.walk == "blocks" else "in memory"
        raise PlanError(
            f"'{outside[0]}' lies outside the repeated blocks, which pruning block by block leaves "
            f"dense; leave it out of what the structure includes, or prune {whole}"
        )
    for name in beyond_blocks(job.recipe):
        raise PlanError(
            f"statistic '{name}' of method '{job.recipe.method}' is taken over the whole model; "
            "prune with walk='whole'"
        )


def beyond_blocks(recipe: Recipe) -> list[str]:
    """The statistics of a recipe that one block at a time cannot give: gradients, for example."""
    return [
        n for n in sorted(recipe.required()) if parse(n)[0] not in (*OBSERVED, *WATCHED, *PAIRED)
    ]


@dataclass(frozen=True)
class _Visit:
    """Everything one block needs."""

    conductor: Conductor
    original: Original | None
    block: Block
    job: Job
    shelf: Shelf
    done: Walked
    surveyed: Survey
    orders: Reordering | None

    def carry_out(self) -> None:
        """Load, prune what is not pruned yet, store, and keep what the block gives."""
        block, shelf, clock = self.block, self.shelf, self.done.clock
        rows = shelf.rows(block)
        facts = self._load(pruned=rows is not None)
        if rows is None:
            rows, masks = self._prune()
            rows = [row | facts.get(row["target"], {}) for row in rows]
            if shelf.keeps_masks:
                self.done.masks.update(masks)
            with clock("store"):
                shelf.store(block, rows)
                shelf.load(block)  # what follows must see the weights as they are stored
        self.done.rows += rows
        with clock("forward"):
            if self.original is not None:
                self.original.finish()
            self.conductor.finish(block)
        shelf.finished(block)
        if self.original is not None:
            self.original.stream.forget()
        self.conductor.forget()
        shelf.release(block)

    def _load(self, pruned: bool) -> dict[str, dict[str, object]]:
        """The weights as far as the block is pruned; a copy of the dense ones where they are needed.

        What is to be recorded of targets whose inputs were put in another order.
        """
        beside, facts = self.original is not None, dict[str, dict[str, object]]()
        with self.done.clock("load"):
            self.shelf.load(self.block, dense=beside)
        if self.orders is not None and (beside or not pruned):
            with self.done.clock("order"):
                facts = self.orders.carry_out(self.conductor, self.block)
        if self.original is not None:
            self.original.hold(self.block)
            if pruned:
                self.shelf.release(self.block)
                self.shelf.load(self.block)
        return facts

    def _prune(self) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """The rows and masks of the whole block, at once or stage by stage."""
        chosen: dict[str, Tensor] = {}
        notes: dict[str, dict[str, object]] = {}
        targets, names = self.job.of(self.block), self.job.recipe.required()
        if self.original is None or not targets:
            model = self.conductor.model
            with self.done.clock("calibrate"), noting_calls(model, targets) as called:
                stats = statistics(self.conductor, self.block, names, targets)
            self._solve(called(targets) if names else targets, stats, chosen, notes)
        else:
            for stage in stages(self.conductor, self.block, targets):
                model = self.conductor.model
                with self.done.clock("calibrate"), noting_calls(model, stage.targets) as called:
                    stats = statistics_beside(
                        self.conductor, self.original, self.block, names, stage
                    )
                self._solve(called(stage.targets), stats, chosen, notes)
        for target in (t for t in targets if t.name not in chosen):
            weight = self.conductor.model.get_parameter(target.members[0].param)
            chosen[target.name] = self.job.kept(target, weight.device)
            notes[target.name] = {UNCALLED: True}
        rows = [_row(self.block, t, chosen[t.name]) | notes.get(t.name, {}) for t in targets]
        return rows, chosen

    def _solve(
        self,
        targets: tuple[Target, ...],
        stats: Stats,
        chosen: dict[str, Tensor],
        notes: dict[str, dict[str, object]],
    ) -> None:
        """The one step for some targets, and its masks on the weights."""
        view = self.job.view(self.conductor.model, targets, stats, self.surveyed)
        if view is None:
            return
        with self.done.clock("solve"):
            masks = step(self.job.recipe, view, self.job.update, first=self.job.first)
            apply(self.conductor.model, view.targets, masks)
        chosen.update(masks)
        notes.update(view.notes)


@torch.no_grad()
def apply(model: nn.Module, targets: tuple[Target, ...], masks: Mapping[str, Tensor]) -> None:
    """Zero what the masks remove."""
    params = {m.param: model.get_parameter(m.param) for t in targets for m in t.members}
    shapes = {name: p.shape for name, p in params.items()}
    for name, mask in element_masks(targets, masks, shapes).items():
        zero(params[name].detach(), mask)


def _row(block: Block, target: Target, mask: Tensor) -> dict[str, Any]:
    kept = int(mask.count_nonzero())
    return {"block": block.name, "target": target.name, "units": target.units, "kept": kept}
