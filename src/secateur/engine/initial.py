"""New initial weights for a model that exists."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..core.errors import PlanError
from ..core.random import derive


def reinitialise(
    model: nn.Module, fresh: Callable[[int], nn.Module] | None, seed: int, round: int
) -> None:
    """Give `model` new initial weights, drawn from the seed and the round.

    With `fresh` (seed -> new model) its weights are copied; without, every module's own
    `reset_parameters` draws them, and a parameter no module can reset is an error by name.
    """
    new_seed = derive(seed, "reinit", round)
    if fresh is not None:
        model.load_state_dict(fresh(new_seed).state_dict())
        return
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(new_seed)
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif list(module.parameters(recurse=False)):
                raise PlanError(
                    f"'{name}' ({type(module).__name__}) has parameters but no reset_parameters; "
                    "pass `fresh`, a function that builds a new model from a seed"
                )
