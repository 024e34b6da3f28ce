"""Carry out training operations; dense training that several methods begin with is shared."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from ..core.errors import PlanError
from ..core.following import Following
from ..core.recipe import Recipe
from ..core.time import Time
from ..materialise import HardMasks
from .adapters import attach, check, merge
from .ahead import counts_ahead
from .coding import coder
from .following import follower
from .gating import gated
from .program import Prune, Train
from .run import Run
from .store import Saved
from .train import Trainer, Training


def train(run: Run, op: Train, save: Callable[[Run], None]) -> None:
    """Train what is left of `op`; `save` is called whenever a checkpoint is due."""
    if run.trainer is None or (op.fresh and run.place.inside == 0):
        run.trainer = new_trainer(run, op)
    if _from_shared(run, op):
        return
    due = time.monotonic() + run.setting.checkpoint_seconds

    def after_step(next_step: int) -> None:
        nonlocal due
        run.place.inside = next_step - op.start
        if time.monotonic() >= due and next_step < op.stop:
            save(run)
            due = time.monotonic() + run.setting.checkpoint_seconds

    def after_epoch(row: Mapping[str, Any]) -> None:
        run.place.log.append({"stage": op.stage, **row})
        run.tell({"kind": "epoch", "stage": op.stage, "stop": op.stop, **row})

    scale = 1.0 if op.constant else op.lr_scale
    start = op.start + run.place.inside
    run.trainer.run(start, op.stop, lr_scale=scale, on_step=after_step, on_epoch=after_epoch)
    if op.adapter is not None and op.merges:
        adopt_average(run)
        merge(run.model, run.trainable)
        run.trainer = None
        run.mask_weights()
    _to_shared(run, op)


def adopt_average(run: Run) -> None:
    """A stage that kept a running average of the weights ends with that average."""
    if run.trainer is None or run.trainer.average is None:
        return
    with run.trainer.averaged():
        state = {name: tensor.clone() for name, tensor in run.state().items()}
    run.model.load_state_dict(state)
    run.trainer = None


def new_trainer(run: Run, op: Train) -> Trainer:
    """A trainer for the op's stage, its optimiser fresh."""
    setting = run.setting
    if setting.training is None or setting.train is None:
        raise PlanError(f"stage '{op.stage}' trains, but no training was given")
    training = setting.training
    _check_average(run.recipe, training)
    if op.constant:
        training = training.constant(Time(op.stop, "it"), op.lr_scale)
    if op.stage == "coded":  # an average of weights is none of their codes
        training = training.model_copy(update={"ema": None})
    teacher = _teacher(run) if training.distil and op.stage != "dense" else None
    if op.adapter is not None:
        if op.stage == "dense":
            check(run.model, op.adapter, run.targets)
        attach(run.model, op.adapter, setting.seed, op.stage)
    run.place.trained[op.stage] = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    if op.stage == "dense":  # nobody to learn from yet
        training = training.model_copy(update={"distil": None})
    pushes = op.stage != "coded" and run.recipe.pushes(_kind(op))
    pressure = run.recipe.pressure if pushes else None
    weighs = pressure.weighs if pressure is not None else None
    return Trainer(
        run.model,
        training,
        setting.train(op.stage),
        masks=run.hard,
        seed=setting.seed,
        stage=op.stage,
        accelerator=setting.accelerator,
        teacher=teacher,
        pressure=pressure,
        targets=run.targets,
        counts=counts_ahead(run),
        gated=coder(run) if op.stage == "coded" else gated(run, op),
        cost=run.costs[weighs] if weighs is not None else None,
        watch=follower(run),
    )


def _check_average(recipe: Recipe, training: Training) -> None:
    """A training that ends with an average of its weights forgets what its pressure has marked."""
    if isinstance(recipe.criterion, Following):
        return
    if recipe.gate is None and recipe.criterion.of_training and training.ema is not None:
        raise PlanError(
            f"criterion '{recipe.criterion.name}' goes by what pressure '{recipe.pressure}' marks, which "
            "a training that ends with an average of the weights does not keep; drop ema"
        )


def _kind(op: Train) -> Literal["training", "recovery"]:
    return "training" if op.stage == "dense" else "recovery"


def _teacher(run: Run) -> nn.Module:
    """The trained dense network."""
    saved = run.store.get("trained")
    if saved is None:
        raise PlanError("distillation needs the trained dense network, but none was evaluated yet")
    teacher = copy.deepcopy(run.model)
    HardMasks.of(teacher).remove()  # or the masks would be applied to what is loaded
    teacher.load_state_dict(saved.tensors)
    return teacher.eval()


def _is_dense(run: Run, op: Train) -> bool:
    """Whether the network is what any method would have trained: not pruned, nor made ready for it."""
    recipe = run.recipe
    if recipe.pushes("training") or recipe.gate is not None or recipe.initial is not None:
        return False
    if recipe.tuning is not None or isinstance(recipe.criterion, Following):
        return False
    if run.at_run_time is not None:
        return False
    pruned = run.place.settled is not None or bool(run.carried)
    pruned |= any(isinstance(o, Prune) for o in run.ops[: run.place.at])
    return run.shared is not None and op.stage == "dense" and not pruned


def _from_shared(run: Run, op: Train) -> bool:
    """Take the state at the op's end from a run that trained the same network before."""
    if not _is_dense(run, op) or run.place.inside:
        return False
    assert run.shared is not None
    assert run.trainer is not None
    saved = run.shared.get(f"dense-{op.stop}")
    if saved is None:
        return False
    run.trainer.load(saved.tensors, saved.meta["trainer"])
    run.place.log = list(saved.meta["log"])
    run.place.seconds += saved.meta["seconds"] - run.seconds
    run.tell({"kind": "reused", "stage": op.stage, "step": op.stop})
    return True


def _to_shared(run: Run, op: Train) -> None:
    if not _is_dense(run, op):
        return
    assert run.shared is not None
    assert run.trainer is not None
    tensors, meta = run.trainer.state()
    row = {"trainer": meta, "log": run.place.log, "seconds": run.seconds}
    run.shared.put(f"dense-{op.stop}", Saved(tensors, row))
