"""One step of learning on named tensors: plain functions, so that all state is plain tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]
"""Learned values and what optimisers remember of them, by name."""

BETAS = (0.9, 0.999)
EPS = 1e-8


def value(name: str) -> str:
    """The key of what is learned of `name`."""
    return f"value/{name}"


def sgd(
    state: State, name: str, gradient: Tensor, lr: float, momentum: float, decay: float
) -> None:
    """m <- momentum · m + g + decay · v, v <- v - lr · m, as `torch.optim.SGD` has it.

    Args:
        state: holds v as `value(name)`; both are replaced, never changed.
        name: of what is learned.
        gradient: g, of the shape of v.
        lr, momentum, decay: the rule's numbers.
    """
    now = state[value(name)]
    step = gradient + decay * now
    before = state.get(f"momentum/{name}")
    step = step if before is None else momentum * before + step
    state[f"momentum/{name}"] = step
    state[value(name)] = now - lr * step


def adam(state: State, name: str, gradient: Tensor, lr: float) -> None:
    """v <- v - lr · (m / (1 - β₁ᵗ)) / (√(n / (1 - β₂ᵗ)) + ε), as `torch.optim.Adam` has it.

    Args:
        state: holds v as `value(name)`; the step's number t, m and n are kept beside it.
        name: of what is learned.
        gradient: of the shape of v.
        lr: negative to ascend.

    Paper: Kingma & Ba 2015, arXiv 1412.6980.
    """
    now = state[value(name)]
    zero = torch.zeros_like(now)
    first = BETAS[0] * state.get(f"first/{name}", zero) + (1 - BETAS[0]) * gradient
    second = BETAS[1] * state.get(f"second/{name}", zero) + (1 - BETAS[1]) * gradient.square()
    count = state.get(f"steps/{name}", torch.zeros((), dtype=torch.int64)) + 1
    t = int(count)
    size = (second / (1 - BETAS[1] ** t)).sqrt() + EPS
    state |= {f"first/{name}": first, f"second/{name}": second, f"steps/{name}": count}
    state[value(name)] = now - lr / (1 - BETAS[0] ** t) * first / size


def logit(share: float) -> float:
    """log(p / (1 - p))."""
    return math.log(share) - math.log1p(-share)
