"""What a layer ought to put out where it ends in a sum: it makes up for what the shortcut has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...core.axes import wide
from ...core.padding import valid_of, valid_only
from ...core.random import derive
from ...core.reads import readers
from ..rewrite import aliases, evaluating
from ..view import ModelView
from .observing import as_rows, forward
from .output_cross import output_cross
from .statistics import Job, Values, own_pass

ADDS = (*aliases("add"), Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)


@own_pass("sum_cross", reads="inputs")
def sum_cross(job: Job, option: float | None) -> Values:
    r"""C = (1/n) Σ_r (y_r + (e_r − e'_r) / a) x_rᵀ: `output_cross`, with the sum that y goes into as the aim.

    Where the layer's output is added to something else, at once or through a batch norm and dropout:
    e what that was in `job.reference`, e' what it is now, a the factor γ / √(σ² + ε) of the norm, so
    that a · y + e comes out as it was. Elsewhere, and without a reference, the same as `output_cross`.

    Shapes: [out, in * kernel] float64, under the name of the layer's weight.

    Paper: He, Zhang, Sun 2017, arXiv 1707.06168, which aims the last layer of a residual branch at
    Y1 − Y1' + Y2, Y1 the shortcut and Y2 the branch as they were, Y1' the shortcut as it is.
    """
    found = output_cross(job, None)
    if job.reference is None:
        return found
    view = ModelView(job.reference, job.targets)
    params = {r.param for target in job.targets for r in readers(view, target)}
    extra, rows = {p: torch.zeros_like(found[p]) for p in params}, dict.fromkeys(params, 0)
    torch.manual_seed(derive(job.seed, "collect"))
    for batch in job.batches or ():
        valid = valid_of(batch)
        before, now = (sums(m, params, batch) for m in (job.reference, job.model))
        for param in params:
            for then, here in zip(before[param], now[param], strict=True):
                product, n = _missing(job.model, param, then, here, valid)
                extra[param], rows[param] = extra[param] + product, rows[param] + n
    return {param: found[param] + extra[param] / rows[param] for param in params}


@dataclass
class Call:
    """One call of a layer: what entered it, and what its output, times `factor`, was added to."""

    x: Tensor
    other: Tensor | None = None
    factor: Tensor | None = None


def sums(model: nn.Module, params: Iterable[str], batch: Any) -> dict[str, list[Call]]:
    """The calls of the layers of these weights, by weight."""
    with evaluating(model), Sums(model, params) as mode:
        forward(model, batch)
    return mode.calls


class Sums(TorchFunctionMode):
    """Follows what some layers put out through batch norms to the sum it goes into.

    Dropout and stochastic depth give back the same tensor outside of training.
    """

    def __init__(self, model: nn.Module, params: Iterable[str]) -> None:
        super().__init__()
        self.calls: dict[str, list[Call]] = {param: [] for param in params}
        self._model, self._hooks = model, ExitStack()
        self._from: dict[int, tuple[Tensor, Call]] = {}  # holds the tensors: their ids stay theirs

    def __enter__(self) -> Sums:
        for param in self.calls:
            layer = self._model.get_submodule(param.rpartition(".")[0])
            self._hooks.callback(layer.register_forward_hook(self._keeper(param)).remove)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hooks.close()
        self._from.clear()

    def _keeper(self, param: str) -> Callable[..., None]:
        def keep(layer: nn.Module, args: Any, output: Tensor) -> None:
            call = Call(args[0].detach())
            self.calls[param].append(call)
            self._from[id(output)] = (output, call)

        return keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in ADDS and kwargs.get("alpha", 1) == 1:
            self._added(*args[:2])
        result = func(*args, **kwargs)
        entered = self._from.get(id(args[0])) if args else None
        if entered is not None and func is F.batch_norm:
            self._normed(entered[1], result, *args[1:], **kwargs)
        return result

    def _added(self, one: Any, other: Any = None) -> None:
        """Keep the other side of a sum."""
        for left, right in ((one, other), (other, one)):
            if id(left) in self._from and isinstance(right, Tensor) and right.shape == left.shape:
                self._from.pop(id(left))[1].other = right.detach().clone()

    def _normed(
        self, call: Call, result: Tensor, mean: Tensor | None = None, var: Tensor | None = None,
        weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
        momentum: float = 0.1, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        """Go on behind a batch norm that has running statistics: only then is its factor fixed."""
        if var is not None and not training:
            factor = torch.rsqrt(var + eps) * (1 if weight is None else weight)
            call.factor = factor if call.factor is None else call.factor * factor
            self._from[id(result)] = (result, call)


def _missing(
    model: nn.Module, param: str, then: Call, now: Call, valid: Tensor | None
) -> tuple[Tensor, int]:
    """[out, in * kernel] Σ (e − e') / a xᵀ of one call, and of how many rows."""
    layer = model.get_submodule(param.rpartition(".")[0])
    x = as_rows(layer, _wide(now.x, valid, param), "input").double()
    if then.other is None or now.other is None or then.other.shape != now.other.shape:
        return torch.zeros((), dtype=torch.float64), len(x)
    lost = _wide(then.other, valid, param) - _wide(now.other, valid, param)
    e = as_rows(layer, lost, "output").double()  # [n, out]
    if now.factor is not None:
        factor = now.factor.double()
        e = torch.where(factor == 0, 0, e / factor)  # what the norm cuts off reaches no sum
    return e.T @ x, len(x)


def _wide(x: Tensor, valid: Tensor | None, param: str) -> Tensor:
    chosen = valid_only(x, valid, param)
    return chosen.to(wide(chosen))
