"""One pass over the dense model before the first block is pruned, where something asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..step import score_all
from .blocks import Block
from .called import noting_calls
from .conductor import Conductor
from .gathering import statistics
from .job import Job, Survey, Walked
from .reordering import Reordering
from .shelf import Shelf


def survey(
    model: nn.Module,
    blocks: Sequence[Block],
    job: Job,
    shelf: Shelf,
    done: Walked,
    reordering: Reordering | None,
) -> Survey:
    """What the allocator says of all blocks, and the orders that all blocks share.

    A process that goes on where another was killed takes what that one found.
    """
    allocator = job.recipe.allocator
    shares = reordering is not None and bool(reordering.shared)
    if not allocator.surveys and not shares:
        return {}
    found = shelf.survey()
    if found is not None:
        return found
    found = {}
    asked = job.recipe.criterion.required() | allocator.required() if allocator.surveys else set()
    with (
        done.clock("survey"),
        Conductor(model, blocks, job.batches, shelf.room).conducting() as conductor,
    ):
        while (block := conductor.next()) is not None:
            shelf.load(block)
            if allocator.surveys:
                with noting_calls(model, job.of(block)) as called:
                    stats = statistics(conductor, block, asked, job.of(block))
                view = job.view(model, called(job.of(block)), stats)
                if view is not None:
                    found |= allocator.survey(score_all(job.recipe.criterion, view), view)
            if reordering is not None:
                reordering.look(conductor, block)
            conductor.finish(block)
            conductor.forget()
            shelf.release(block)
    if reordering is not None:
        found |= reordering.shared_orders()
    shelf.surveyed(found)
    return found
