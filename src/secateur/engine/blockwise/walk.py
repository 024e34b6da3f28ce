"""Prune block by block: each sees what the pruned blocks before it give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...core.device import wait_for_device
from ...core.errors import PlanError
from ...core.recipe import Recipe
from ...core.types import Target, Update, element_masks
from ...core.zeroing import zero
from ..collect.observing import OBSERVED
from ..collect.statistics import PAIRED, WATCHED, parse
from ..step import score_all, step
from ..view import ModelView, Stats
from .activations import Activations, InMemory
from .blocks import Block, find_blocks
from .conductor import Batch, Conductor
from .gathering import statistics, statistics_beside
from .original import Original
from .stages import stages

Progress = Callable[[dict[str, Any]], None]
Survey = dict[str, list[float]]


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

    def of(self, block: Block) -> tuple[Target, ...]:
        """The targets that lie in a block."""
        return tuple(t for t in self.targets if _inside(t, block))


@dataclass
class Walked:
    """What a walk leaves: masks by target, a row of facts for each target, seconds by part."""

    masks: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def clock(self, part: str) -> Clock:
        """A context whose time counts for `part`."""
        return Clock(self.seconds, part)


class Clock:
    """Adds the time spent inside to one entry of a dict; what a GPU was given there counts."""

    def __init__(self, seconds: dict[str, float], part: str) -> None:
        self._seconds, self._part = seconds, part

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        wait_for_device()
        spent = time.perf_counter() - self._start
        self._seconds[self._part] = self._seconds.get(self._part, 0.0) + spent


def walk(
    model: nn.Module, job: Job, shelf: Shelf | None = None, tell: Progress | None = None
) -> Walked:
    """Prune every block in the order in which the model calls them.

    For each: load its weights, gather the statistics the recipe needs on what the pruned blocks
    before it give, take the one step with a view of this block, store, and keep what the pruned
    block gives. The statistics of all layers of a block are taken before any of them is pruned, as
    the official codes of SparseGPT and Wanda do; where a statistic compares with the dense network,
    layer by layer in the order in which they run, each on what the pruned layers before it give, and the
    dense blocks run beside the pruned ones.

    Args:
        model: its parameters may be on the meta device where `shelf` brings them.
        shelf: where weights come from and go to; None = the model is in memory.
        tell: called with `{"kind": "block", …}` after every block.
    """
    shelf = shelf if shelf is not None else InPlace()
    blocks = find_blocks(model)
    check(job, blocks)
    done = Walked()
    surveyed = _survey(model, blocks, job, shelf, done)
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
            _Visit(conductor, original, block, job, shelf, done, surveyed).carry_out()
            timer(block)
    return done


def _original(conductor: Conductor, job: Job, shelf: Shelf) -> Original | None:
    """The dense network beside the pruned one, where a statistic compares the two."""
    if not compares(job.recipe):
        return None
    return Original(conductor, lambda block: shelf.room(block, dense=True))


def compares(recipe: Recipe) -> bool:
    """Whether a recipe compares what flows through the pruned network with the dense one."""
    return any(parse(name)[0] in PAIRED for name in recipe.required())


def _survey(
    model: nn.Module, blocks: Sequence[Block], job: Job, shelf: Shelf, done: Walked
) -> Survey:
    """One pass over the dense model, where the allocator asks for it."""
    if not job.recipe.allocator.surveys:
        return {}
    found = shelf.survey()
    if found is not None:
        return found
    found = {}
    asked = job.recipe.criterion.required() | job.recipe.allocator.required()
    with (
        done.clock("survey"),
        Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor,
    ):
        while (block := conductor.next()) is not None:
            shelf.load(block)
            stats = statistics(conductor, block, asked, job.of(block))
            view = job.view(model, job.of(block), stats)
            if view is not None:
                found |= job.recipe.allocator.survey(score_all(job.recipe.criterion, view), view)
            conductor.finish(block)
            conductor.forget()
            shelf.release(block)
    shelf.surveyed(found)
    return found


def check(job: Job, blocks: Sequence[Block]) -> None:
    """Refuse what cannot be done block by block, before anything is touched."""
    outside = [t.name for t in job.targets if not any(_inside(t, block) for block in blocks)]
    if outside:
        raise PlanError(
            f"'{outside[0]}' lies outside the repeated blocks, which the block-wise walk leaves "
            "dense; exclude it, or prune with walk='whole'"
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


def _inside(target: Target, block: Block) -> bool:
    return all(block.owns(member.param) for member in target.members)


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

    def carry_out(self) -> None:
        """Load, prune what is not pruned yet, store, and keep what the block gives."""
        block, shelf, clock = self.block, self.shelf, self.done.clock
        rows = shelf.rows(block)
        with clock("load"):
            self._load(pruned=rows is not None)
        if rows is None:
            rows, masks = self._prune()
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

    def _load(self, pruned: bool) -> None:
        """The weights as far as the block is pruned; a copy of the dense ones where they are needed."""
        self.shelf.load(self.block, dense=self.original is not None)
        if self.original is not None:
            self.original.hold(self.block)
            if pruned:
                self.shelf.release(self.block)
                self.shelf.load(self.block)

    def _prune(self) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """The rows and masks of the whole block, at once or stage by stage."""
        chosen: dict[str, Tensor] = {}
        notes: dict[str, dict[str, object]] = {}
        targets, names = self.job.of(self.block), self.job.recipe.required()
        if self.original is None or not targets:
            with self.done.clock("calibrate"):
                stats = statistics(self.conductor, self.block, names, targets)
            self._solve(targets, stats, chosen, notes)
        else:
            for stage in stages(self.conductor, self.block, targets):
                with self.done.clock("calibrate"):
                    stats = statistics_beside(
                        self.conductor, self.original, self.block, names, stage
                    )
                self._solve(stage.targets, stats, chosen, notes)
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


class Timer:
    """Tells after every block how far the walk is and how long the rest may take."""

    def __init__(self, blocks: int, tell: Progress | None) -> None:
        self._blocks, self._tell, self._done, self._skipped = blocks, tell, 0, 0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._start

    def skip(self) -> None:
        """A block that took no time, since it was done already."""
        self._done += 1
        self._skipped += 1

    def __call__(self, block: Block) -> None:
        self._done += 1
        seconds = self.seconds
        left = seconds / (self._done - self._skipped) * (self._blocks - self._done)
        if self._tell is not None:
            event = {"kind": "block", "name": block.name, "done": self._done}
            self._tell({**event, "blocks": self._blocks, "seconds": seconds, "left": left})
