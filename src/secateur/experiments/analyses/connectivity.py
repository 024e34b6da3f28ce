"""Linear mode connectivity: is there a barrier on the line between two runs from one start?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ...core.time import Time
from ...engine.run import Setting
from ...engine.train import Trainer, evaluate
from ..statistics import barrier

if TYPE_CHECKING:
    from ..runner import Runner

State = Mapping[str, Tensor]


def connectivity(
    runner: Runner, forks: tuple[str, ...] = ("0it", "10%"), points: int = 11
) -> dict[str, Any]:
    """Train to step k, then twice to the end with other data orders; walk the line between.

    θ(α) = (1 − α) θ_a + α θ_b for `points` values of α from 0 to 1 (batch-norm statistics are
    interpolated as the weights are). The barrier is the largest loss on the line above the
    straight line between its ends. `forks` are the steps k, as times of the training.

    Frankle et al. 2020, arXiv 1912.05671.
    """
    planned = runner.planned[0]
    alphas = [i / (points - 1) for i in range(points)]
    curves = []
    for fork in forks:
        model, setting = runner.workshop.make(planned.config, planned.seed)
        if setting.training is None or not setting.lengths()[1]:
            raise PlanError("analysis 'connectivity' trains; give the study a training")
        curves.append(_curve(model, setting, fork, alphas))
    return {"kind": "connectivity", "alphas": alphas, "curves": curves}


def _curve(model: nn.Module, setting: Setting, fork: str, alphas: list[float]) -> dict[str, Any]:
    spe, total = setting.lengths()
    step = Time.parse(fork).steps(spe, total)
    _train(model, setting, "dense", 0, step)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ends = []
    for stage in ("fork-a", "fork-b"):
        model.load_state_dict(start)
        _train(model, setting, stage, step, total)
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
    val = setting.val if setting.val is not None else setting.test
    rows = [_at(model, ends[0], ends[1], alpha, val) for alpha in alphas]
    losses = [row["loss"] for row in rows]
    return {
        "label": f"k = {fork}",
        "loss": losses,
        "accuracy": [row["accuracy"] for row in rows],
        "barrier": barrier(alphas, losses),
    }


def _train(model: nn.Module, setting: Setting, stage: str, start: int, stop: int) -> None:
    if stop <= start:
        return
    assert setting.train is not None
    assert setting.training is not None
    trainer = Trainer(
        model, setting.training, setting.train(stage), masks=None, seed=setting.seed, stage=stage
    )
    trainer.run(start, stop)


@torch.no_grad()
def _at(model: nn.Module, a: State, b: State, alpha: float, val: Any) -> dict[str, Any]:
    """Loss and accuracy at one place of the line."""
    model.load_state_dict({name: _between(a[name], b[name], alpha) for name in a})
    return dict(evaluate(model, val))


def _between(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    return torch.lerp(a, b, alpha) if a.is_floating_point() else a
