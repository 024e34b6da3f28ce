"""What single layers take of a network's time, each run alone on what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from ..measure.forward import as_call, device_of, evaluating, explained
from ..measure.latency import Timer
from .latency import RUNS


def seconds_within(
    model: nn.Module, example: Any, names: Sequence[str], timer: Timer
) -> dict[str, float]:
    """Submodule -> seconds of one call, the fastest of some after one to warm up.

    Args:
        model: it is left as it was; each of the submodules runs in it.
        example: as in `latency_cost`.
        names: paths of submodules.
        timer: seconds of one call.
    """
    call = as_call(example).map(lambda tensor: tensor.to(device_of(model)))
    given: dict[str, tuple[Any, Any]] = {}

    def note(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        given.setdefault(name, (args, kwargs))

    with evaluating(model), explained(call), torch.no_grad():
        with ExitStack() as hooks:
            for name in names:
                module = model.get_submodule(name)
                hook = module.register_forward_pre_hook(partial(note, name), with_kwargs=True)
                hooks.callback(hook.remove)
            model(*call.args, **call.kwargs)
        runs = {n: partial(model.get_submodule(n), *args, **kw) for n, (args, kw) in given.items()}
        for run in runs.values():
            run()
        return {name: min(timer(run) for _ in range(RUNS)) for name, run in runs.items()}
