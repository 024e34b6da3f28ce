"""A run as a flat list of operations, computed before anything happens.

The list is a pure function of the recipe and the training length, so a killed run finds its place
again by two numbers: which operation, and which step inside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..core.errors import PlanError, Untrained
from ..core.following import Following
from ..core.recipe import Recipe
from ..core.run_time import RunTime
from ..core.time import Time
from ..core.types import Adapter, RecoveryPlan, Update


@dataclass(frozen=True)
class Train:
    """Train steps [start, stop) of the schedule; `stage` names the stream of randomness.

    Attributes:
        stage: `dense` for the main training, `round-i` for the recovery after update i, `coded` for that
            of weights that take few values.
        start, stop: optimiser steps; a constant schedule counts from 0.
        constant: one learning rate instead of the training schedule.
        lr_scale: factor on the learning rate.
        fresh: whether the optimiser starts anew.
        adapter: train low-rank weights beside the others; None trains them all.
        merges: whether those are merged at `stop`, and not trained on.
    """

    stage: str
    start: int
    stop: int
    constant: bool = False
    lr_scale: float = 1.0
    fresh: bool = True
    adapter: Adapter | None = None
    merges: bool = True


@dataclass(frozen=True)
class Prune:
    """Carry out one update of the masks."""

    round: int
    update: Update
    first: bool = False


@dataclass(frozen=True)
class Draw:
    """Draw masks, and carry out the update with them if they have settled."""

    round: int
    update: Update
    first: bool = False


@dataclass(frozen=True)
class Snapshot:
    """Remember the weights as those of training step `step`."""

    step: int


@dataclass(frozen=True)
class Restore:
    """Prepare a recovery: change weights and masks as its plan says."""

    round: int
    plan: RecoveryPlan
    step: int


@dataclass(frozen=True)
class Evaluate:
    """Measure the network: one point of the results."""

    round: int
    moment: str
    """`trained`, `pruned` (before recovery), `recovered` or `coded`."""


@dataclass(frozen=True)
class Code:
    """Leave coded weights, of few values, for good."""


Op = Train | Prune | Draw | Snapshot | Restore | Code | Evaluate


def build(recipe: Recipe, steps_per_epoch: int, total: int, trained: bool = False) -> list[Op]:
    """The operations of a run.

    Updates before the end of training interrupt it; those at its end follow it, each with its
    recovery, which follows the training itself where none is left by then. Without training
    (`total` 0) every update is at the end. A network that is trained already skips the main
    training, unless the method works during it.

    Args:
        recipe: the method.
        steps_per_epoch, total: of the main training, in optimiser steps.
        trained: whether the network comes with trained weights.
    """
    updates = _updates(recipe, steps_per_epoch, total)
    recovery = recipe.recovery.plan() if recipe.recovery else RecoveryPlan()
    _check_trainable(recipe, recovery, steps_per_epoch, total)
    _check_rewind(recipe, recovery, trained, several=len(updates) > 1)
    back = recovery.rewind_to.steps(steps_per_epoch, total)
    during = [u for u in updates if u.step.steps(1, 0) < total or recipe.gate is not None]
    after = updates[len(during) :]
    works = bool(during) or recipe.pushes("training") or bool(_of_training(recipe))
    length = 0 if trained and not works else total
    adapter = recipe.tuning.adapter if recipe.tuning is not None else None
    ops: list[Op] = [*_training(during, length, _snapshots(recovery, back), adapter)]
    if total or after or not updates:
        ops.append(Evaluate(len(during), "trained"))
    if during and not after and not recovery.idle:  # all is pruned when the training ends
        round = 1 if recipe.schedule.waits else len(during)  # what settles is one update
        ops += _recovery(round, recovery, back, steps_per_epoch, total)
    for i, update in enumerate(after, start=1):
        number = len(during) + i
        ops.append(Prune(number, update, first=number == 1))
        last = i == len(after)
        plan = recovery if last else _rounds(recovery)
        if plan.idle and last:  # rounds with nothing between them end in one state
            ops.append(Evaluate(number, "pruned"))
        elif plan.idle:
            continue
        elif plan.every_update or last:
            ops += _recovery(number, plan, back, steps_per_epoch, total)
    return ops + _coding(recipe, len(updates), steps_per_epoch, total)


def _coding(recipe: Recipe, round: int, spe: int, total: int) -> list[Op]:
    """What comes last: weights that take few values, trained as such where the precision says so."""
    if recipe.precision is None:
        return []
    train: list[Op] = []
    if recipe.precision.length is not None:
        steps, scale = recipe.precision.length.steps(spe, total), recipe.precision.lr_scale
        train = [Train("coded", 0, steps, constant=True, lr_scale=scale)]
    return [*train, Code(), Evaluate(round, "coded")]


def check_teacher(ops: list[Op], recipe: Recipe) -> None:
    """Refuse a network to learn from that is never dense and trained: it is pruned before it is."""
    if any(isinstance(op, Draw) for op in ops):
        raise PlanError(
            f"distillation learns from the trained dense network, but schedule '{recipe.schedule}' "
            "prunes it as soon as its masks have settled; drop distil"
        )
    until = next((i for i, op in enumerate(ops) if isinstance(op, Evaluate)), 0)
    if any(isinstance(op, Prune) for op in ops[:until]):
        raise PlanError(
            "distillation learns from the trained dense network, but this method prunes it before its "
            "training has ended; drop distil"
        )


def why_trained(recipe: Recipe) -> str:
    """What of a recipe has its part in a training, so that it needs one; empty where nothing has."""
    try:
        build(recipe, 0, 0)
    except Untrained as error:
        return error.why
    return ""


def _updates(recipe: Recipe, spe: int, total: int) -> list[Update]:
    """The schedule's updates; with a gate, which masks by itself at every step, one when training ends.

    Masks that wait until they have settled are drawn of what a gate has learned by then.
    """
    updates = list(recipe.schedule.updates(spe, total))
    if recipe.gate is None or not updates or recipe.schedule.waits:
        return updates
    return [replace(updates[-1], step=Time(total, "it"), progress=1.0)]


def _check_trainable(recipe: Recipe, plan: RecoveryPlan, spe: int, total: int) -> None:
    needs_steps = plan.schedule == "restart" and total == 0
    if needs_steps or (plan.schedule == "constant" and spe == 0):
        raise Untrained(f"recovery '{recipe.recovery}' trains")
    if recipe.precision is not None and recipe.precision.length is not None and spe == 0:
        raise Untrained(f"precision '{recipe.precision}' trains")
    of_training = _of_training(recipe)
    if recipe.pushes("training"):
        of_training = f"pressure '{recipe.pressure.name}'" if recipe.pressure else ""
    if recipe.gate is not None:
        of_training = f"gate '{recipe.gate.name}'"
    if of_training and total == 0:
        raise Untrained(f"{of_training} works while the network trains")


def _of_training(recipe: Recipe) -> str:
    """What of a recipe has its part in the main training, beside pressures and gates."""
    if recipe.tuning is not None:
        return f"tuning '{recipe.tuning.name}'"
    if isinstance(recipe.materialise, RunTime) and recipe.materialise.learns:
        return f"materialise '{recipe.materialise.name}', which learns,"
    follows = isinstance(recipe.criterion, Following)
    return f"criterion '{recipe.criterion.name}'" if follows else ""


def _check_rewind(recipe: Recipe, plan: RecoveryPlan, trained: bool, several: bool) -> None:
    rewinds = plan.weights == "rewind" or (several and _rounds(plan).weights == "rewind")
    if trained and rewinds:
        raise PlanError(
            f"recovery '{recipe.recovery}' goes back to early weights, but the network came trained "
            "and they are not known; start untrained, or use fine-tuning or LR rewinding"
        )


def _rounds(plan: RecoveryPlan) -> RecoveryPlan:
    """What is done after all updates but the last."""
    return plan.rounds or plan


def _snapshots(plan: RecoveryPlan, back: int) -> set[int]:
    """Steps whose weights must be remembered: always the start, and where a rewind goes."""
    return {0, back} if plan.weights == "rewind" else {0}


def _training(
    during: Iterable[Update], total: int, snapshots: set[int], adapter: Adapter | None
) -> list[Op]:
    """The main training, cut where weights are remembered or updates happen."""
    ops: list[Op] = []
    at = 0
    stops: dict[int, list[Op]] = {step: [Snapshot(step)] for step in snapshots if step <= total}
    for number, update in enumerate(during):
        step = update.step.steps(1, 0)
        kind = Draw if update.settling is not None and step < total else Prune
        op = kind(number + 1, update, first=number == 0)
        stops.setdefault(step, []).append(op)
    for step in sorted({*stops, total}):
        if step > at:
            ends = step == total
            ops.append(Train("dense", at, step, fresh=at == 0, adapter=adapter, merges=ends))
            at = step
        ops += stops.get(step, [])
    return ops


def _recovery(round: int, plan: RecoveryPlan, back: int, spe: int, total: int) -> list[Op]:
    """Evaluate as pruned, restore, train, evaluate again."""
    stage = f"round-{round}"
    train: list[Op] = []
    if plan.schedule == "constant":
        length = (plan.length or Time(0, "it")).steps(spe, total)
        adapter = plan.adapter
        train = [Train(stage, 0, length, constant=True, lr_scale=plan.lr_scale, adapter=adapter)]
    elif plan.schedule == "restart":
        train = [Train(stage, back, total, lr_scale=plan.lr_scale)]
    before, after = Evaluate(round, "pruned"), Evaluate(round, "recovered")
    return [before, Restore(round, plan, back), *train, after]
