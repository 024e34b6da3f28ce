"""Prune block by block: each sees what the pruned blocks before it give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...core.errors import NumberError, PlanError
from ...core.finite import finite
from ...core.recipe import Recipe
from ...core.types import Target, Update, element_masks
from ...core.zeroing import zero
from ..collect.observing import OBSERVED, observing, valid_of
from ..collect.statistics import WATCHED, Values, parse
from ..step import score_all, step
from ..view import ModelView, Stats
from .activations import Activations, InMemory
from .blocks import Block, find_blocks
from .conductor import Batch, Conductor

Progress = Callable[[dict[str, Any]], None]
Survey = dict[str, list[float]]


class Shelf(Protocol):
    """Where the weights of blocks come from and go to."""

    keeps_masks: bool
    """Whether the caller wants all masks; a model on disk has its zeros."""

    def load(self, block: Block) -> None:
        """Make the block's weights real: the pruned ones where it is done already."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """What was recorded of the block when it was pruned; None where that is still to do."""

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Keep the pruned weights for good."""

    def kept(self) -> list[str]:
        """Blocks that an earlier process finished and whose outputs it kept, in order."""

    def room(self, block: str) -> Activations:
        """Where what the block gives is to be kept."""

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

    def load(self, block: Block) -> None:
        """Already there."""

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """Never done before."""
        return None

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Already there."""

    def kept(self) -> list[str]:
        """None."""
        return []

    def room(self, block: str) -> Activations:
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
        self, model: nn.Module, block: Block, stats: Stats, surveyed: Survey | None = None
    ) -> ModelView | None:
        """A view of one block; None where nothing of it is a target."""
        targets = self.of(block)
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
    surveyed = _survey(model, blocks, job, shelf, done)
    timer = Timer(len(blocks), tell)
    with Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor:
        for name in shelf.kept():
            conductor.skip(conductor.blocks[name], shelf.room(name))
            done.rows += shelf.rows(conductor.blocks[name]) or []
            timer.skip()
        while (block := conductor.next()) is not None:
            _visit(conductor, block, job, shelf, done, surveyed)
            timer(block)
    return done


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
    room = lambda block: InMemory()  # noqa: E731
    with (
        done.clock("survey"),
        Conductor(model, blocks, job.batches, room).conducting() as conductor,
    ):
        while (block := conductor.next()) is not None:
            shelf.load(block)
            stats = statistics(conductor, block, job.recipe, job.of(block))
            view = job.view(model, block, stats)
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
    return [n for n in sorted(recipe.required()) if parse(n)[0] not in (*OBSERVED, *WATCHED)]


def _inside(target: Target, block: Block) -> bool:
    return all(block.owns(member.param) for member in target.members)


def _visit(
    conductor: Conductor, block: Block, job: Job, shelf: Shelf, done: Walked, surveyed: Survey
) -> None:
    """Everything one block needs."""
    rows = shelf.rows(block)
    with done.clock("load"):
        shelf.load(block)
    if rows is None:
        rows, masks = _prune(conductor, block, job, done, surveyed)
        if shelf.keeps_masks:
            done.masks.update(masks)
        with done.clock("store"):
            shelf.store(block, rows)
            shelf.load(block)  # what follows must see the weights as they are stored
    done.rows += rows
    with done.clock("forward"):
        conductor.finish(block)
    shelf.finished(block)
    conductor.forget()
    shelf.release(block)


def _prune(
    conductor: Conductor, block: Block, job: Job, done: Walked, surveyed: Survey
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Statistics, the one step, and the masks on the weights."""
    with done.clock("calibrate"):
        stats = statistics(conductor, block, job.recipe, job.of(block))
    view = job.view(conductor.model, block, stats, surveyed)
    if view is None:
        return [], {}
    with done.clock("solve"):
        chosen = step(job.recipe, view, job.update, first=job.first)
        apply(conductor.model, view.targets, chosen)
    rows = [_row(block, t, chosen[t.name]) | view.notes.get(t.name, {}) for t in view.targets]
    return rows, chosen


def statistics(
    conductor: Conductor, block: Block, recipe: Recipe, targets: tuple[Target, ...]
) -> dict[str, Values]:
    """What the recipe needs of one block, over all batches, padding left out."""
    if not recipe.required() or not targets:
        return {}
    with gathering(conductor, recipe, targets) as values:
        conductor.run(block)
    return values()


@contextmanager
def gathering(
    conductor: Conductor, recipe: Recipe, targets: tuple[Target, ...]
) -> Iterator[Callable[[], dict[str, Values]]]:
    """Inside, what runs through the targets' block feeds the statistics that the recipe needs."""
    model = conductor.model
    asked = {name: parse(name) for name in sorted(recipe.required())}
    seen = {name: parsed for name, parsed in asked.items() if parsed[0] in OBSERVED}
    params = list(dict.fromkeys(member.param for t in targets for member in t.members))
    weights = [p for p in params if model.get_parameter(p).dim() >= 2]
    valid = lambda: valid_of(conductor.batch())  # noqa: E731
    with ExitStack() as stack:
        flows = stack.enter_context(observing(model, seen, weights, valid)) if seen else None
        watches = {
            name: stack.enter_context(WATCHED[base](model, targets, params, valid))
            for name, (base, _) in asked.items()
            if base in WATCHED
        }
        yield lambda: _finite(
            (flows.values() if flows is not None else {}) | {n: w() for n, w in watches.items()}
        )


def _finite(values: dict[str, Values]) -> dict[str, Values]:
    """The values; NaN or infinite ones are an error."""
    for name, tensors in values.items():
        for param, value in tensors.items():
            if not finite(value):
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
