"""Masks that are drawn while the network trains, and hold only once they have settled."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.types import Masks, Settling
from .program import Draw, Op, Prune, Snapshot, Train
from .pruning import at_once, hold
from .run import Run


def draw(run: Run, op: Draw) -> None:
    """Draw masks, compare them with those before, and let them hold if they have settled."""
    settling = op.update.settling
    assert settling is not None
    masks = at_once(run, op)
    run.drawn = [*run.drawn, masks][-settling.memory :]
    far = farthest(run.drawn)
    step = op.update.step.steps(1, 0)
    run.place.drawn.append({"step": step, "distance": far})
    run.tell({"kind": "drawn", **run.place.drawn[-1]})
    if settles(run.drawn, settling):
        run.place.settled = step
        hold(run, op, masks)


def farthest(drawn: Sequence[Masks]) -> float | None:
    """The largest distance of the newest masks from those before; None where there are none before."""
    return max((distance(drawn[-1], before) for before in drawn[:-1]), default=None)


def settles(drawn: Sequence[Masks], settling: Settling) -> bool:
    """Whether there are enough masks, and the newest is near to all others."""
    far = farthest(drawn)
    return len(drawn) == settling.memory and far is not None and far <= settling.within


def distance(one: Masks, other: Masks) -> float:
    """The share of all units in which two masks differ (Hamming)."""
    differ = sum(int((one[name] != other[name]).sum()) for name in one)
    return differ / sum(mask.numel() for mask in one.values())


def passed_over(run: Run, op: Op) -> bool:
    """Whether masks that have settled leave nothing to do of an operation.

    No more masks are drawn, and the main training is over where a recovery trains after it.
    """
    if run.place.settled is None:
        return False
    if isinstance(op, Draw):
        return True
    if isinstance(op, Prune):
        return op.update.settling is not None
    recovery = run.recipe.recovery
    ends = recovery is not None and recovery.plan().schedule != "none"
    if isinstance(op, Snapshot):  # of a step that the training never comes to
        return ends and op.step > run.place.settled
    return isinstance(op, Train) and ends and op.stage == "dense"
