"""Carry a run to its end from wherever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.edits import Edits
from ..core.types import Target
from .adapters import merged_meanwhile
from .coding import code
from .drawing import draw, passed_over
from .evaluating import record, test_all
from .program import Code, Draw, Evaluate, Op, Prune, Restore, Snapshot, Train
from .pruning import prune, restore, snapshot
from .resume import checkpoint, resume
from .run import Run
from .training import train


@dataclass
class Outcome:
    """What a run leaves.

    Attributes:
        model: pruned in place, its masks still held.
        targets: what could be pruned.
        target_masks: target name -> bool [target.shape].
        masks: parameter name -> bool of its shape.
        points: one dict per evaluation, the test result in each.
        log: one dict per training epoch.
        seconds: time over all processes that worked on it.
        trained: stage of training -> how many parameters it trained.
        edits: wrappers that were put in, to decide for every input; None without.
    """

    model: nn.Module
    targets: tuple[Target, ...]
    target_masks: dict[str, Tensor]
    masks: dict[str, Tensor]
    points: list[dict[str, Any]]
    log: list[dict[str, Any]]
    seconds: float
    trained: dict[str, int]
    edits: Edits | None = None


def execute(run: Run) -> Outcome:
    """Do everything that is left of the run's program; kill it anywhere and call it again."""
    resume(run)
    while run.place.at < len(run.ops):
        _carry_out(run, run.ops[run.place.at])
        run.place.at, run.place.inside = run.place.at + 1, 0
        checkpoint(run)
    test_all(run)
    place = run.place
    return Outcome(
        run.model, run.targets, run.masks, run.elements(), place.points, place.log, run.seconds,
        place.trained, run.at_run_time.edits if run.at_run_time is not None else None,
    )  # fmt: skip


def _carry_out(run: Run, op: Op) -> None:
    if passed_over(run, op):
        return
    if isinstance(op, Train):
        train(run, op, save=checkpoint)
    elif isinstance(op, Prune):
        optimizer = run.trainer.optimizer if run.trainer is not None else None
        with merged_meanwhile(run.model, run.trainable, optimizer):
            prune(run, op)
    elif isinstance(op, Draw):
        draw(run, op)
    elif isinstance(op, Snapshot):
        snapshot(run, op)
    elif isinstance(op, Restore):
        restore(run, op)
    elif isinstance(op, Code):
        code(run)
    else:
        assert isinstance(op, Evaluate)
        record(run, op)
