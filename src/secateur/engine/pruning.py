"""Carry out updates of the masks, snapshots and what a recovery does before it trains."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ..core.density import keep_count
from ..core.errors import CollapseError, PlanError
from ..core.random import generator
from ..core.recipe import Recipe
from ..core.types import Masks, Member, Scores, Target, Update, element_masks
from ..materialise import HardMasks
from . import collect
from .ahead import ahead
from .blockwise.called import uncalled
from .blockwise.walk import Job, walk
from .connected import connected_step
from .initial import reinitialise
from .point import health_of
from .program import Draw, Prune, Restore, Snapshot
from .recalibrate import recalibrate
from .run import Run
from .step import hide, score_all, step
from .store import Saved
from .train.gated import Gated
from .trying import Tried
from .view import ModelView, Stats

log = logging.getLogger(__name__)


def prune(run: Run, op: Prune) -> None:
    """Score, select and mask: one update."""
    if run.at_run_time is not None:
        run.at_run_time.update(run.model, op, run.setting.scoring)
        run.tell({"kind": "pruned", "round": op.round, "density": run.density, "collapsed": []})
        return
    if op.update.soft:
        _zero_once(run, at_once(run, op))
        run.tell({"kind": "zeroed", "round": op.round})
        return
    before = run.elements()
    hold(run, op, WALKS[run.recipe.walk](run, op), before)


def hold(run: Run, op: Prune | Draw, masks: dict[str, Tensor], before: Masks | None = None) -> None:
    """Let masks hold from here on.

    Args:
        masks: of the targets.
        before: masks of the parameters before the update, where what was out may revive.
    """
    run.masks = masks
    last = op.update.progress == 1
    run.place.budget = {what: run.cost(what, last) for what in run.recipe.allocator.weighs}
    if run.recipe.revive and before is not None:
        _revive(run, before)
    collapsed = _collapsed(run, op)
    if run.recipe.gate is not None:
        _settle(run)
    run.mask_weights()
    event = {"kind": "pruned", "round": op.round, "density": run.density}
    run.tell({**event, "collapsed": collapsed})


def at_once(run: Run, op: Prune | Draw) -> dict[str, Tensor]:
    """The one step with a view of the whole model."""
    stats = _statistics(run)
    seed = run.setting.seed
    view = ModelView(
        run.model, run.targets, run.masks, stats, seed, op.round, costs=run.costs,
        progress=op.update.progress, learned=_learned(run), trial=partial(Tried, run, stats, op.round),
    )  # fmt: skip
    if run.recipe.connected:
        return connected_step(run, view, op.update, op.first)
    return step(run.recipe, view, op.update, first=op.first)


@torch.no_grad()
def _zero_once(run: Run, masks: Masks) -> None:
    """Zero the weights that write what the masks leave out; nothing holds them there."""
    parameters = dict(run.model.named_parameters())
    shapes = {name: p.shape for name, p in parameters.items()}
    writing = tuple(replace(t, members=_writers(t, parameters)) for t in run.targets)
    for name, mask in element_masks(writing, masks, shapes).items():
        parameters[name].masked_fill_(~mask, 0.0)


def _writers(target: Target, parameters: Mapping[str, Tensor]) -> tuple[Member, ...]:
    """Slices of the weights that write the units: no biases, norms, or what later layers read."""
    return tuple(m for m in target.members if m.reads is None and parameters[m.param].dim() > 1)


def _learned(run: Run) -> Mapping[str, Tensor]:
    """What training has told of each target's units: criterion, gate, or pressure, which spared some."""
    if run.followed:
        return run.followed
    if run.trainer is None or not run.recipe.criterion.of_training:
        return {}
    if isinstance(run.trainer.gated, Gated):
        return run.trainer.gated.scores(run.setting.lengths()[1])
    return {name: (~gone).float() for name, gone in run.trainer.decided.items()}


def _settle(run: Run) -> None:
    """The gate's part is over: its last factors are in the weights, and what trains next has none."""
    assert run.trainer is not None
    assert isinstance(run.trainer.gated, Gated)
    run.trainer.gated.settle(run.masks)
    run.trainer = None


def _by_blocks(run: Run, op: Prune) -> dict[str, Tensor]:
    """The same step with a view of one block after the other."""
    batches = list(run.setting.scoring if run.setting.scoring is not None else ())
    if not batches:
        raise PlanError(f"method '{run.recipe.method}' walks block by block on data; pass data=...")
    job = Job(run.recipe, op.update, run.targets, batches, run.setting.seed, op.round)
    walked = walk(run.model, replace(job, first=op.first, masks=run.masks))
    if told := uncalled(walked.rows):
        log.warning("%s", told)
    return walked.masks


def _by_layers(run: Run, op: Prune) -> dict[str, Tensor]:
    """The same step with a view of one target after the other, in the network pruned so far."""
    before = copy.deepcopy(run.model)
    HardMasks.of(before).remove()
    across = run.recipe.allocator.across_targets
    decided = ahead(run, op.update, _scores_ahead(run, op)) if across else {}
    seen = kept = 0
    for target in run.targets:
        stats, seed = _statistics(run, (target,), before), run.setting.seed
        view = ModelView(run.model, (target,), run.masks, stats, seed, op.round, run.targets)
        seen += target.units
        update = _shared_out(op.update, seen, kept, int(run.masks[target.name].sum()), target.units)
        keep = decided.get(target.name)
        run.masks = {**run.masks, **step(run.recipe, view, update, first=op.first, keep=keep)}
        run.mask_weights()
        kept += int(run.masks[target.name].sum())
    return dict(run.masks)


def _scores_ahead(run: Run, op: Prune) -> Scores | None:
    """The scores of all targets before the first is pruned, for an allocator that looks at them."""
    recipe = run.recipe
    if recipe.allocator.by_sizes:
        return None
    names = recipe.criterion.required() | recipe.allocator.required()
    stats, seed = _statistics(run, names=names), run.setting.seed
    view = ModelView(run.model, run.targets, run.masks, stats, seed, op.round)
    return hide(score_all(recipe.criterion, view), run.masks)


def _shared_out(update: Update, seen: int, kept: int, alive: int, units: int) -> Update:
    """The update for one target, such that of all units seen so far the right number is kept."""
    if update.density is None:
        return update
    mine = min(max(keep_count(update.density, seen) - kept, 0), alive)
    return replace(update, density=mine / units)


WALKS: dict[str, Callable[[Run, Prune], dict[str, Tensor]]] = {
    "whole": at_once,
    "blocks": _by_blocks,
    "layers": _by_layers,
}


def _statistics(
    run: Run,
    targets: tuple[Target, ...] = (),
    reference: nn.Module | None = None,
    names: frozenset[str] | None = None,
) -> Stats:
    """What the recipe needs of the targets, all by default, in one collection."""
    names = run.recipe.required() if names is None else names
    if not names:
        return {}
    return collect.collect(
        run.model,
        names,
        targets or run.targets,
        run.setting.scoring,
        run.setting.loss,
        seed=run.setting.seed,
        example=run.setting.example,
        initial=_initial(run) if "initial" in names else None,
        masks=run.elements(),
        batch_statistics=run.batch_statistics,
        reference=reference,
        suspended=run.hard.suspended() if _looks_beyond_masks(run.recipe) else None,
    )


def _looks_beyond_masks(recipe: Recipe) -> bool:
    """Whether removed weights are judged too, by the gradient they would have."""
    return recipe.schedule.regrows or recipe.revive


@torch.no_grad()
def _revive(run: Run, before: Mapping[str, Tensor]) -> None:
    """Give weights that came back their values of step 0."""
    initial, parameters = _initial(run), dict(run.model.named_parameters())
    for name, mask in run.elements().items():
        value = parameters[name]
        value.copy_(torch.where(mask & ~before[name], initial[name].to(value), value))


def _initial(run: Run) -> Mapping[str, Tensor]:
    """The weights of step 0."""
    saved = run.store.get("step-0")
    if saved is None:
        raise PlanError("the initial weights were not kept; this criterion needs a run from step 0")
    return saved.tensors


def _collapsed(run: Run, op: Prune | Draw) -> list[str]:
    """Layers that the new masks cut off, by name; refused where the setting says so."""
    health = health_of(run.model, run.setting.example, run.elements(), run.meant)
    layers = list(dict.fromkeys(health.empty + health.unreachable))
    names = ", ".join(layers[:5]) + (f" and {len(layers) - 5} more" if len(layers) > 5 else "")
    said = f"round {op.round} of method '{run.recipe.method}' collapses {names}"
    if health.untraced and run.setting.on_collapse == "error" and run.setting.example is not None:
        raise PlanError(
            f"collapse cannot be ruled out, paths cannot be followed: {health.untraced}; "
            "allow it with on_collapse='report'"
        )
    if layers and run.setting.on_collapse == "error":
        raise CollapseError(
            f"{said}; raise the density, set a floor per layer, or allow it with on_collapse='report'"
        )
    if layers and layers != run.cut:  # said once, not in every round
        run.cut = layers
        log.warning("%s (kept: %.4g %%)", said, 100 * run.density)
    return layers


def snapshot(run: Run, op: Snapshot) -> None:
    """Remember the weights of a training step."""
    run.store.put(f"step-{op.step}", Saved(run.state(), {}))


def restore(run: Run, op: Restore) -> None:
    """Change weights and masks as the recovery's plan says; the optimiser starts anew."""
    if op.plan.shuffle_masks:
        run.masks = {name: _shuffled(run, op, name, m) for name, m in run.masks.items()}
    if op.plan.weights == "rewind":
        saved = run.store.get(f"step-{op.step}")
        if saved is None:
            raise PlanError(f"no weights of step {op.step} were kept; the run cannot rewind")
        run.model.load_state_dict(saved.tensors)
    elif op.plan.weights == "reinit":
        reinitialise(run.model, run.setting.fresh, run.setting.seed, op.round)
    run.trainer = None
    run.mask_weights()
    if op.plan.recalibrate:
        recalibrate(run.model, run.setting.scoring, run.setting.seed)


def _shuffled(run: Run, op: Restore, name: str, mask: Tensor) -> Tensor:
    """As many units as before, at random places."""
    rng = generator(run.setting.seed, "shuffle", op.round, name)
    order = torch.randperm(mask.numel(), generator=rng).to(mask.device)
    return mask.flatten()[order].view(mask.shape)
