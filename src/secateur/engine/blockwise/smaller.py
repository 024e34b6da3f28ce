"""Take structures out of the model of a folder, into another folder, a block in memory at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...artifact.architecture import hugging_face
from ...artifact.huggingface import add_config
from ...artifact.machine import machine
from ...artifact.sharded import GradualShards
from ...core.axes import Chooser
from ...core.device import pick_device, placed
from ...core.edits import Edits
from ...core.errors import DataError, PlanError
from ...core.origin import Architecture, Origin, set_origin
from ...core.recipe import Recipe
from ...core.result import Result
from ...core.run_time import RunTime
from ...core.types import keep_all
from ...shrinking.asked import can_go
from ...shrinking.foreseen import foreseen, settled
from ...shrinking.made import Made
from ...shrinking.record import describe
from ...structure.example import example_in_words
from ...structure.graph.proof import difference
from ...structure.graph.replay import replay
from ...structure.one_of_each import OneOfEach
from ..program import Prune
from ..program import build as program
from ..step import step
from ..view import ModelView
from .blocks import Block, find_blocks
from .conductor import Batch
from .cutting import TOLERANCE, Cutter, last_output, layout
from .folder import Done, request_digest, room
from .job import Job
from .memory import return_freed_tensors, return_small_pieces
from .output import Output
from .rotated import RotatedSkeleton, rewritten
from .rotating import RotatedCutter, Rotation, check_widths
from .scoring import ScoreShelf, chosen, score
from .shards import Shards, split
from .skeleton import Skeleton, build
from .timing import Progress, Timer
from .walk import beyond_blocks, check
from .weightless import example_for, find, on_meta


def why_whole(recipe: Recipe) -> str:
    """What keeps a recipe from being carried out a block in memory at a time; empty where nothing does."""
    gradients = beyond_blocks(recipe)
    if gradients:
        return f"it rests on {', '.join(gradients)}, which only the whole network gives"
    parts = {
        "it wraps layers that choose for every input": isinstance(recipe.materialise, RunTime),
        "its recovery trains the whole network": recipe.recovery is not None,
        "its weights take few values in the end": recipe.precision is not None,
        "it prunes while adapters of the whole network train": recipe.tuning is not None,
        "it rewrites the whole network in another basis": not _in_turn(recipe),
        "its budget weighs the whole network": bool(recipe.allocator.weighs),
        "it tries candidates on the whole network": recipe.allocator.tries,
        "its pressure pushes while it trains": recipe.pressure is not None,
        "it keeps every layer connected": recipe.connected,
        "it visits layer after layer in the pruned network": recipe.walk != "whole",
        "its solver chooses by itself": isinstance(recipe.solver, Chooser),
    }
    reason = next((reason for reason, holds in parts.items() if holds), "")
    return reason or ("" if len(_updates(recipe)) == 1 else "it prunes several times")


def _in_turn(recipe: Recipe) -> bool:
    """Whether the basis, if there is one, is found block by block, and nothing else is looked at."""
    return recipe.basis is None or (recipe.basis.in_turn and not recipe.required())


def _updates(recipe: Recipe) -> list[Prune]:
    return [op for op in program(recipe, 0, 0, trained=True) if isinstance(op, Prune)]


@dataclass
class Ending:
    """A folder whose weights are written: what is left to be said of it.

    Attributes:
        folder: where it lies until it gets its name.
        model: the smaller model without weights, its history with it.
        record: plain data, to be added to.
        why: why the stock class does not build it; empty where it does.
    """

    folder: Path
    model: nn.Module
    record: dict[str, Any]
    why: str


def shrink_folder(
    source: str | Path,
    recipe: Recipe,
    out: str | Path,
    finish: Callable[[Ending], None],
    *,
    batches: Sequence[Batch] = (),
    seed: int = 0,
    activations: Literal["memory", "disk"] = "memory",
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Done:
    """Prune the structures of a Hugging Face folder as in memory, with one block in memory at a time.

    Two passes over the files. The first scores every block on what the dense blocks before it give
    and keeps scores and the solver's statistics; one selection over all of them follows, the
    ordinary one. The second reads every block again, lets the solver change what survives, cuts it,
    compares the cut with the masked block, and writes it to its place in the new file. Killed at any
    moment, the same call goes on where it was and ends with the same bytes.

    Args:
        source: folder with `config.json` and safetensors weights; only read.
        recipe: one for which `why_whole` has nothing to say.
        out: folder to be; new or empty.
        finish: describes the finished folder before it gets its name.
        batches, seed, activations, device, progress: as for `prune_folder`.
    """
    return_freed_tensors()
    if reason := why_whole(recipe):
        raise PlanError(f"method '{recipe.method}' needs the whole model in memory: {reason}")
    if recipe.observed() and not batches:
        raise DataError(f"method '{recipe.method}' rests on activations; give calibration data")
    shards, out = Shards(Path(source)), Path(out)
    work = _Work.of(shards, recipe, batches, seed, pick_device(device))
    digest = request_digest(shards, recipe, seed, batches)
    space = room(work.skeleton, batches) if batches else 0
    if isinstance(work.skeleton, RotatedSkeleton):
        space += work.skeleton.room
    output = Output(out, shards, digest, activations, space, copies=False)
    with output.working():
        shelf = ScoreShelf(work.skeleton, output)
        timer = Timer(2 * len(work.blocks), progress)
        masks = work.scored(shelf, timer)
        ending = work.cut(shelf, masks, timer)
        ending.record["pruning"]["request"] = digest
        finish(ending)
        output.finish(lambda folder: None)
    return Done(out, ending.record, {"pruning": timer.seconds})


@dataclass
class _Work:
    """The two passes over one model."""

    skeleton: Skeleton
    stock: nn.Module
    blocks: tuple[Block, ...]
    job: Job
    each: OneOfEach | None

    @classmethod
    def of(
        cls,
        shards: Shards,
        recipe: Recipe,
        batches: Sequence[Batch],
        seed: int,
        device: torch.device | str = "cpu",
    ) -> _Work:
        """Find what may go, and refuse what cannot be done, before a weight is read."""
        stock, skeleton = _empty(shards, recipe, device)
        found = find(stock, recipe)
        targets = found.targets
        return_small_pieces()
        if not can_go(targets):
            raise PlanError(f"method '{recipe.method}' takes nothing out; it prunes single weights")
        if recipe.solver is not None:
            before = set(dict(skeleton.model.named_parameters()))
            recipe.solver.prepare(skeleton.model, targets)
            skeleton.added = frozenset(set(dict(skeleton.model.named_parameters())) - before)
        groups, density = recipe.scope.groups(targets), recipe.schedule.final_density
        recipe.allocator.check(groups, density, targets, {})
        (op,) = _updates(recipe)
        batches = placed(batches, skeleton.device)
        job = Job(recipe, op.update, targets, batches, seed, op.round, op.first)
        blocks = find_blocks(skeleton.model)
        if recipe.basis is None:  # else targets lie between blocks
            check(job, blocks)
        return cls(skeleton, stock, blocks, job, found.each)

    def scored(self, shelf: ScoreShelf, timer: Timer) -> dict[str, Tensor]:
        """The first pass, and the units that stay."""
        if isinstance(self.skeleton, RotatedSkeleton):
            Rotation(self.skeleton, self.blocks, self.job, shelf).find(timer)
            return self.unseen()
        if all(shelf.has(block) for block in self.blocks):
            for _ in self.blocks:
                timer.skip()
        else:
            score(self.skeleton.model, self.blocks, self.job, shelf, timer)
        return chosen(self.skeleton.model, self.blocks, self.job, shelf)

    def unseen(self) -> dict[str, Tensor]:
        """The units that stay where no score depends on what flows."""
        job = self.job
        masks = keep_all(job.targets, "cpu")
        view = ModelView(self.skeleton.model, job.targets, masks, {}, job.seed, job.round)
        return step(job.recipe, view, job.update, first=job.first)

    def made(self, masks: dict[str, Tensor]) -> tuple[Result, list[Made]]:
        """The network without weights, and what it becomes."""
        what = Result(copy.deepcopy(self.stock).to("meta"), {}, self.job.targets, masks, {})
        made = foreseen(what, on_meta(example_for(self.stock)), self.each)
        return_small_pieces()
        return what, made

    def cut(self, shelf: ScoreShelf, masks: dict[str, Tensor], timer: Timer) -> Ending:
        """The second pass, and the configuration that goes with what is left."""
        example, folder = example_for(self.stock), shelf.output.partial
        given = placed(example, self.skeleton.device)
        what, made = self.made(masks)
        small = replay(copy.deepcopy(self.stock), made[0].edits)
        file = _files(folder, small, self.skeleton.shards)
        kind = Cutter if self.job.recipe.basis is None else RotatedCutter
        cutter = kind(self.stock, self.job, masks, shelf, made, file, given)
        last = cutter.cut(self.blocks, timer)
        way = made[cutter.way()]
        settled(what.model, way, on_meta(example))
        config: Any = self.stock.config
        config.use_cache = True
        small = replay(copy.deepcopy(self.stock), way.edits)
        add_config(small, folder)
        if not way.fit.why:
            way.fit = replace(way.fit, why=_otherwise(folder, given, last, self.skeleton.device))
        origin = Origin(
            architecture=self.architecture(),
            edits=(*_first(self.job.recipe), way.edits),
            source=self.skeleton.source(),
            example=example_in_words(example),
        )
        set_origin(small, origin)
        record = describe(self.stock, way) | self._facts(cutter, masks)
        record["parameters"][0] = self.skeleton.parameters
        return Ending(folder, small, record, way.fit.why)

    def architecture(self) -> Architecture | None:
        """What the edits begin with: a basis may change the configuration."""
        if not isinstance(self.skeleton, RotatedSkeleton):
            return hugging_face(self.stock)
        stock = self.skeleton.plain.model
        stock.config.use_cache = True
        return hugging_face(stock)

    def _facts(self, cutter: Cutter, masks: dict[str, Tensor]) -> dict[str, Any]:
        """What the record of a run in memory says, too; no time, so that resumed runs leave the same."""
        rows = list(cutter.rows.values())
        worst = {key: max(row[key] for row in rows) for key in ("error", "effect")}
        recipe, op = self.job.recipe, self.job
        kept, units = (sum(int(f(m)) for m in masks.values()) for f in (Tensor.sum, Tensor.numel))
        point = {"round": op.round, "moment": "pruned", "density": kept / units}
        run = {"recipe": recipe.to_dict(), "digest": recipe.digest, "seed": op.seed}
        run |= {"points": [point], "passes": 2, "machine": machine(self.skeleton.device)}
        if absent := recipe.structure.absent(self.job.targets):
            run["absent"] = list(absent)
        return {"proof": worst, "difference": worst["error"], "pruning": run}


def _empty(
    shards: Shards, recipe: Recipe, device: torch.device | str
) -> tuple[nn.Module, Skeleton]:
    """The model without weights, rewritten where the recipe has a basis, and what reads its files."""
    if recipe.basis is None:
        return build(shards).eval(), Skeleton(shards, device)
    return rewritten(shards, recipe.basis), RotatedSkeleton(shards, recipe.basis, device)


def _first(recipe: Recipe) -> tuple[Edits, ...]:
    """The change before anything is taken out."""
    return () if recipe.basis is None else (Edits(basis=recipe.basis.to_dict()),)


def why_not_by_blocks(shards: Shards, recipe: Recipe) -> str:
    """What keeps a model that gets another basis from being cut block by block; empty where nothing does."""
    work = _Work.of(shards, recipe, (), 0)
    _, made = work.made(work.unseen())
    small = [replay(copy.deepcopy(work.stock), way.edits) for way in made]
    reasons = [check_widths(model, example_for(work.stock)) for model in small]
    return min(reasons, key=len)  # none, if one way of editing the modules does


def _files(folder: Path, small: nn.Module, source: Shards) -> GradualShards:
    """The files of the smaller model: one, or shards no larger than the largest of the source."""
    specs, same = layout(small)
    stored = {name: spec for name, spec in specs.items() if name not in same}
    return GradualShards(folder, split(stored, source.largest), specs, same)


def _otherwise(folder: Path, example: Batch, wanted: list[Tensor], device: torch.device) -> str:
    """How the stock class computes something else from the files; empty where it does not."""
    stock = Skeleton(Shards(folder), device)
    distance = difference(last_output(stock, find_blocks(stock.model), example), wanted)
    if distance <= TOLERANCE:
        return ""
    return (
        f"its outputs would differ by {distance:.1e}: the stock architecture computes a scale or a "
        "table from sizes that have changed"
    )
