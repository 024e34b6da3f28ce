"""Criteria that look on while the network trains: what they are shown, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..core.axes import wide
from ..core.errors import PlanError
from ..core.following import Following
from ..core.types import Target
from .adapters import adapted, estimate, merged
from .program import Draw, Prune
from .run import Run
from .view import ModelView

POWERS: dict[str, Callable[[Tensor], Tensor]] = {
    "gradient": lambda g: g,
    "gradient_squared": torch.square,
    "gradient_abs": torch.abs,
}
"""What a statistic is of one batch's gradient."""


class StepView(ModelView):
    """The network within a step of training: its weights, and the gradients of the step's batch.

    Names are those of the network without adapters. Of an adapted layer the weight is W + s B A, and its
    gradient the estimate of `adapters.estimate`; of what does not train the gradient is zero. The products
    that both rest on are multiplied once for a weight, however often criteria ask, until it is `drop`ped.
    """

    _merged: dict[str, Tensor]
    _estimates: dict[str, Tensor]

    def _parameters(self, model: nn.Module) -> dict[str, Tensor]:
        self._layers = adapted(model)
        self._merged, self._estimates = {}, {}
        return {name.replace(".base_layer.", "."): p for name, p in model.named_parameters()}

    def trains(self, param: str) -> bool:
        """Whether the weight is trained, or adapters beside it."""
        return self._params[param].requires_grad or self._adapter(param) is not None

    def weight(self, param: str) -> Tensor:
        """The value that the network computes with."""
        layer = self._adapter(param)
        if layer is None:
            return self._params[param].detach()
        if param not in self._merged:
            self._merged[param] = merged(layer)
        return self._merged[param]

    def stat(self, name: str, param: str) -> Tensor:
        """A statistic of the step's own batch, in float32 or wider."""
        if name not in POWERS:
            return super().stat(name, param)
        own, layer = self._params[param], self._adapter(param)
        if layer is not None:
            if param not in self._estimates:
                self._estimates[param] = estimate(layer)
            return POWERS[name](self._estimates[param])
        grad = torch.zeros_like(own) if own.grad is None else own.grad
        return POWERS[name](grad.to(wide(grad)))

    def drop(self, params: Iterable[str]) -> None:
        """Let go of products of these weights, each as large as the weight."""
        for param in params:
            self._merged.pop(param, None)
            self._estimates.pop(param, None)

    def _adapter(self, param: str) -> nn.Module | None:
        layer, _, kind = param.rpartition(".")
        return self._layers.get(layer) if kind == "weight" else None


def follower(run: Run) -> Callable[[], None] | None:
    """What shows the run's criterion each step of training; None where it does not look on.

    After the last update there is nothing left to judge.
    """
    criterion = run.recipe.criterion
    if not isinstance(criterion, Following):
        return None
    last = max((i for i, op in enumerate(run.ops) if isinstance(op, Prune | Draw)), default=-1)
    _check(run, criterion)
    done = _done_with(run.targets)

    @torch.no_grad()
    def look() -> None:
        if run.place.at < last:
            view = StepView(run.model, run.targets, run.masks)
            known = {}
            for target in run.targets:
                before = run.followed.get(target.name)
                known[target.name] = criterion.observe(view, target, before)
                view.drop(done[target.name])
            run.followed = known

    return look


def _done_with(targets: tuple[Target, ...]) -> dict[str, list[str]]:
    """Target -> the weights that no later one has a slice of."""
    last = {m.param: t.name for t in targets for m in t.members}
    return {t.name: [p for p, name in last.items() if name == t.name] for t in targets}


def _check(run: Run, criterion: Following) -> None:
    """Refuse gradients on a scale of their own, and units of which nothing trains."""
    assert run.setting.training is not None
    if run.setting.training.precision == "fp16":
        raise PlanError(
            f"criterion '{criterion.name}' averages gradients, which a loss scale would make worthless "
            "now and then; use precision bf16 or no"
        )
    view = StepView(run.model, run.targets, run.masks)
    if blind := [t for t in run.targets if not _trains(view, t)]:
        raise PlanError(
            f"criterion '{criterion.name}' judges by gradients, but nothing of '{blind[0].name}' trains; "
            "let the adapters' `layers` take in a layer of every structure"
        )


def _trains(view: StepView, target: Target) -> bool:
    return any(view.trains(member.param) for member in target.members)
