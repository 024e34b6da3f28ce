"""The first of two passes: every block of the dense model is scored, and let go."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ...artifact import write_bytes
from ...core.axes import Scores
from ...core.device import placed
from ...core.select import select
from ...core.types import keep_all
from ..collect.statistics import Values
from ..step import budgets, score_all
from ..view import ModelView
from .blocks import Block
from .conductor import Conductor
from .gathering import gathering
from .job import Job
from .output import SCORES, FolderShelf
from .timing import Timer

Stats = dict[str, Values]


class ScoreShelf(FolderShelf):
    """Scores and statistics of blocks, a small file for each in the folder in the making."""

    def has(self, block: Block) -> bool:
        """Whether the block has been scored."""
        return block.name in self.output.journal.get("scored", [])

    def keep(self, block: Block, scores: Scores, stats: Stats) -> None:
        """Keep what was found for good."""
        tensors = {target: value.contiguous() for target, value in scores.items()}
        for name, values in stats.items():
            tensors |= {f"{name}\n{param}": value.contiguous() for param, value in values.items()}
        folder = self.output.partial / SCORES
        folder.mkdir(exist_ok=True)
        write_bytes(folder / block.name, save(tensors))
        self.output.journal.setdefault("scored", []).append(block.name)
        self.note()

    def read(self, block: Block) -> tuple[dict[str, Tensor], Stats]:
        """The scores by target, and the statistics that were kept."""
        tensors = load((self.output.partial / SCORES / block.name).read_bytes())
        tensors = placed(tensors, self.skeleton.device)
        scores, stats = dict[str, Tensor](), Stats()
        for key, value in tensors.items():
            name, line, param = key.partition("\n")
            if line:
                stats.setdefault(name, {})[param] = value
            else:
                scores[name] = value
        return scores, stats


def score(
    model: nn.Module, blocks: Sequence[Block], job: Job, shelf: ScoreShelf, timer: Timer
) -> None:
    """Score the targets of every block on what the dense blocks before it give."""
    if not job.recipe.required():
        for each in blocks:
            if not shelf.has(each):
                shelf.load(each)
                _keep(model, each, job, shelf, {})
                shelf.release(each)
            timer(each)
        return
    with Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor:
        for name in shelf.kept():
            conductor.skip(conductor.blocks[name], shelf.room(name))
            timer.skip()
        while (block := conductor.next()) is not None:
            shelf.load(block)
            _watch(conductor, block, job, shelf)
            shelf.finished(block)
            conductor.forget()
            shelf.release(block)
            timer(block)


def _watch(conductor: Conductor, block: Block, job: Job, shelf: ScoreShelf) -> None:
    """Let the block run on every batch, and score it where that has not been done."""
    targets = job.of(block)
    if shelf.has(block) or not targets:
        conductor.finish(block)
        return
    with gathering(conductor, job.recipe.required(), targets) as values:
        conductor.finish(block)
    _keep(conductor.model, block, job, shelf, values())


def _keep(model: nn.Module, block: Block, job: Job, shelf: ScoreShelf, stats: Stats) -> None:
    view = job.view(model, job.of(block), stats)
    scores = score_all(job.recipe.criterion, view) if view is not None else {}
    wanted = job.recipe.solver.required() if job.recipe.solver is not None else frozenset()
    shelf.keep(block, scores, {name: stats[name] for name in wanted})


def chosen(
    model: nn.Module, blocks: Sequence[Block], job: Job, shelf: ScoreShelf
) -> dict[str, Tensor]:
    """The units of every target that stay, by the scores of all blocks together."""
    scores: dict[str, Tensor] = {}
    for block in blocks:
        if job.of(block):
            scores |= shelf.read(block)[0]
    every = {target.name: scores[target.name] for target in job.targets}
    masks = keep_all(job.targets, torch.device("cpu"))
    view = ModelView(model, job.targets, masks, {}, job.seed, job.round)
    groups = job.recipe.scope.groups(job.targets)
    live, keep = budgets(job.recipe, view, job.update, lambda: every, groups)
    return select(live, groups, keep)
