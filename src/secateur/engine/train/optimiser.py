"""Optimisers as values: which one, and its own options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from ...core.component import Component, Registry, register
from ...core.errors import PlanError

Groups = list[dict[str, Any]]


class Optimiser(Component, ABC):
    """How gradients become steps."""

    registry: ClassVar[Registry] = Registry("optimiser")
    apart: ClassVar[bool] = False
    """Whether the tables of embeddings are to be groups of their own, marked `tables`."""
    mixes: ClassVar[bool] = False
    """Whether a step moves weights without a gradient, too: pruned ones are zeroed after it."""

    @abstractmethod
    def build(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """The torch optimiser of parameter groups that carry their weight decay."""


@register("sgd")
class SGD(Optimiser):
    """m <- momentum · m + g + decay · w; w <- w - lr · m (Nesterov: g + momentum · m)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _sane(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise PlanError("sgd with nesterov needs a momentum above 0, e.g. 0.9")
        return self

    def build(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """`torch.optim.SGD`."""
        return torch.optim.SGD(groups, lr, momentum=self.momentum, nesterov=self.nesterov)


Beta = Annotated[float, Field(ge=0, lt=1)]


@register("adam")
class Adam(Optimiser):
    """Adam; weight decay is added to the gradient. Kingma & Ba 2015, arXiv 1412.6980."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)

    def build(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """`torch.optim.Adam`."""
        return torch.optim.Adam(groups, lr, betas=self.betas, eps=self.eps)


@register("adamw")
class AdamW(Adam):
    """Adam; weights decay by themselves. Loshchilov & Hutter 2019, arXiv 1711.05101."""

    def build(self, groups: Groups, lr: float) -> torch.optim.Optimizer:
        """`torch.optim.AdamW`."""
        return torch.optim.AdamW(groups, lr, betas=self.betas, eps=self.eps)


def parameter_groups(
    model: nn.Module, weight_decay: float, decay_norms: bool, apart: bool = False
) -> Groups:
    """The trained parameters with their weight decay.

    Args:
        model: the network.
        weight_decay: of weights.
        decay_norms: whether biases and the scales of norms (one dimension or none) decay too.
        apart: whether the tables of embeddings are a group of their own, marked `tables`.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise PlanError("the model has no parameter that asks for gradients; nothing can train")
    small = [] if decay_norms else [p for p in params if p.dim() <= 1]
    large = [p for p in params if decay_norms or p.dim() > 1]
    own = {id(m.weight) for m in model.modules() if apart and isinstance(m, nn.Embedding)}
    groups = [
        {"params": [p for p in large if id(p) not in own], "weight_decay": weight_decay},
        {
            "params": [p for p in large if id(p) in own],
            "weight_decay": weight_decay,
            "tables": True,
        },
        {"params": small, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
