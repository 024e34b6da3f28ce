"""The protocol of what is done last: weights that are left take values of a small set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .component import Component, Registry
from .time import TimeField

Dims = tuple[str, ...]


class Precision(Component, ABC):
    """In how FEW VALUES what is left is told: the last stage of a recipe, when nothing is pruned any more.

    The weights of all layers (not biases, norms and embeddings) are represented by fewer bits. With a
    `length` the network then trains on: it computes with `coded(w)` at every step, and w follows what
    `passes` makes of the gradient of coded(w), while all masks hold. At the end coded(w) is what stays.

    Attributes:
        length: how long to train, e.g. `2ep`; None = not at all.
        lr_scale: factor on the training's peak learning rate, which is constant.
        exclude: selectors of weights that stay as they are.
    """

    registry: ClassVar[Registry] = Registry("precision")

    length: TimeField | None = None
    lr_scale: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    exclude: tuple[str, ...] = ()

    def check(self, weights: Mapping[str, Tensor], dims: Mapping[str, Dims]) -> None:
        """Refuse weights that it cannot code, before anything is done; both arguments by the same names."""

    def start(
        self, weight: Tensor, keep: Tensor, dims: Dims, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """What is decided of one weight when the stage begins, by names; checkpoints keep it.

        Args:
            weight: [out, in, kernel...] float, zero where pruned.
            keep: bool of the same shape.
            dims: what its dimensions are: `out`, `in`, `k` for a kernel's, `expert`.
            rng: a CPU generator.
        """
        return {}

    @abstractmethod
    def coded(self, weight: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """[weight's shape] the value that stands for each element; zero where it is pruned."""

    def passes(self, gradient: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """The gradient that w follows, from that of coded(w); as it is (straight through)."""
        return gradient

    def once(self, passed: Tensor, keep: Tensor, decided: Mapping[str, Tensor]) -> Tensor:
        """What `passes` gave with each free value once, any shape: its norm is what clipping goes by."""
        return passed
