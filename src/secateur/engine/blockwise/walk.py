"""Prune block by block: each sees what the pruned blocks before it give."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...core.errors import NumberError, PlanError
from ...core.recipe import Recipe
from ...core.types import Target, Update, element_masks
from ..collect.observing import OBSERVED, observing, valid_of
from ..collect.statistics import parse
from ..step import step
from ..view import ModelView
from .activations import Activations, InMemory
from .blocks import Block, find_blocks
from .conductor import Batch, Conductor

Progress = Callable[[dict[str, Any]], None]


class Shelf(Protocol):
    """Where the weights of blocks come from and go to."""

    def load(self, block: Block) -> None:
        """Make the block's weights real: the pruned ones where it is done already."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """What was recorded of the block when it was pruned; None where that is still to do."""

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Keep the pruned weights for good."""

    def kept(self, block: Block) -> Activations | None:
        """What the finished block gave, where an earlier process left it."""

    def room(self, block: str) -> Activations:
        """Where what the block gives is to be kept."""

    def finished(self, block: Block) -> None:
        """What the block gives is kept, too."""

    def release(self, block: Block) -> None:
        """Let go of the block's weights."""


class InPlace:
    """The shelf of a model that is in memory as a whole: nothing is moved."""

    def load(self, block: Block) -> None:
        """Already there."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """Never done before."""
        return None

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Already there."""

    def kept(self, block: Block) -> Activations | None:
        """Nothing."""
        return None

    def room(self, block: str) -> Activations:
        """In memory."""
        return InMemory()

    def finished(self, block: Block) -> None:
        """Nothing to note."""

    def release(self, block: Block) -> None:
        """The model keeps its weights."""


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
    """Adds the time spent inside to one entry of a dict."""

    def __init__(self, seconds: dict[str, float], part: str) -> None:
        self._seconds, self._part = seconds, part

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self._start
        self._seconds[self._part] = self._seconds.get(self._part, 0.0) + spent


def walk(
    model: nn.Module, job: Job, shelf: Shelf | None = None, tell: Progress | None = None
) -> Walked:
    """Prune every block in the order in which the model calls them.

    For each: load its weights, gather the statistics the recipe needs on what the pruned blocks
    before it give, take the one step with a view of this block, store, and keep what the pruned
    block gives. The statistics of all layers of a block are taken before any of them is pruned, as
    the official codes of SparseGPT and Wanda do.

    Args:
        model: its parameters may be on the meta device where `shelf` brings them.
        shelf: where weights come from and go to; None = the model is in memory.
        tell: called with `{"kind": "block", …}` after every block.
    """
    shelf = shelf if shelf is not None else InPlace()
    blocks = find_blocks(model)
    check(job, blocks)
    done = Walked()
    timer = _Timer(len(blocks), tell)
    with Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor:
        while (block := conductor.next()) is not None:
            _visit(conductor, block, job, shelf, done)
            timer(block)
    return done


def check(job: Job, blocks: Sequence[Block]) -> None:
    """Refuse what cannot be done block by block, before anything is touched."""
    outside = [t.name for t in job.targets if not any(_inside(t, block) for block in blocks)]
    if outside:
        raise PlanError(
            f"'{outside[0]}' lies outside the repeated blocks, which the block-wise walk leaves "
            "dense; exclude it, or prune with walk='whole'"
        )
    for name in sorted(job.recipe.required()):
        if parse(name)[0] not in OBSERVED:
            raise PlanError(
                f"statistic '{name}' of method '{job.recipe.method}' is taken over the whole model; "
                "prune with walk='whole'"
            )


def _inside(target: Target, block: Block) -> bool:
    return block.owns(target.members[0].param)


def _visit(conductor: Conductor, block: Block, job: Job, shelf: Shelf, done: Walked) -> None:
    """Everything one block needs."""
    rows, kept = shelf.rows(block), shelf.kept(block)
    if kept is not None and rows is not None:
        done.rows += rows
        conductor.skip(block, kept)
        return
    with done.clock("load"):
        shelf.load(block)
    if rows is None:
        rows = _prune(conductor, block, job, done)
        with done.clock("store"):
            shelf.store(block, rows)
            shelf.load(block)  # what follows must see the weights as they are stored
    done.rows += rows
    with done.clock("forward"):
        conductor.finish(block)
    shelf.finished(block)
    conductor.forget()
    shelf.release(block)


def _prune(conductor: Conductor, block: Block, job: Job, done: Walked) -> list[dict[str, Any]]:
    """Statistics, the one step, and the masks on the weights."""
    targets = tuple(t for t in job.targets if _inside(t, block))
    if not targets:
        return []
    with done.clock("calibrate"):
        stats = statistics(conductor, block, job.recipe, targets)
    masks = None if job.masks is None else {t.name: job.masks[t.name] for t in targets}
    with done.clock("solve"):
        view = ModelView(
            conductor.model, targets, masks, stats, job.seed, job.round, every=job.targets
        )
        chosen = step(job.recipe, view, job.update, first=job.first)
        apply(conductor.model, targets, chosen)
    done.masks.update(chosen)
    return [_row(block, target, chosen[target.name]) for target in targets]


def statistics(
    conductor: Conductor, block: Block, recipe: Recipe, targets: tuple[Target, ...]
) -> dict[str, dict[str, Tensor]]:
    """What the recipe needs of one block, over all batches, padding left out."""
    asked = {name: parse(name) for name in sorted(recipe.required())}
    if not asked:
        return {}
    params = list(dict.fromkeys(member.param for t in targets for member in t.members))
    weights = [p for p in params if conductor.model.get_parameter(p).dim() >= 2]
    valid = lambda: valid_of(conductor.batch())  # noqa: E731
    with observing(conductor.model, asked, weights, valid) as seen:
        conductor.run(block)
    values = seen.values()
    for name, tensors in values.items():
        for param, value in tensors.items():
            if not bool(torch.isfinite(value).all()):
                raise NumberError(
                    f"statistic '{name}' of '{param}' holds NaN or infinite values: what flows into "
                    "this layer overflows; check the weights, or use a wider dtype"
                )
    return values


@torch.no_grad()
def apply(model: nn.Module, targets: tuple[Target, ...], masks: Mapping[str, Tensor]) -> None:
    """Zero what the masks remove."""
    params = {m.param: model.get_parameter(m.param) for t in targets for m in t.members}
    shapes = {name: p.shape for name, p in params.items()}
    for name, mask in element_masks(targets, masks, shapes).items():
        params[name].masked_fill_(~mask.to(params[name].device), 0)


def _row(block: Block, target: Target, mask: Tensor) -> dict[str, Any]:
    kept = int(mask.sum())
    return {"block": block.name, "target": target.name, "units": target.units, "kept": kept}


class _Timer:
    """Tells after every block how far the walk is and how long the rest may take."""

    def __init__(self, blocks: int, tell: Progress | None) -> None:
        self._blocks, self._tell, self._done = blocks, tell, 0
        self._start = time.perf_counter()

    def __call__(self, block: Block) -> None:
        self._done += 1
        seconds = time.perf_counter() - self._start
        left = seconds / self._done * (self._blocks - self._done)
        if self._tell is not None:
            event = {"kind": "block", "name": block.name, "done": self._done}
            self._tell({**event, "blocks": self._blocks, "seconds": seconds, "left": left})
