"""The losses of an epoch: their mean, and an alarm when one is no number."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import NumberError
from .device import Hardware

WATCH_EVERY = 50
"""Losses that wait on a GPU before they are looked at, so that it is not stopped at every step."""


class Meter:
    """Sums losses on the device.

    Attributes:
        sums: [2] float64, the sum of the losses and their number; part of a training's state.
    """

    def __init__(self, hardware: Hardware, stage: str) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device=hardware.device)
        self._hardware, self._stage = hardware, stage
        self._unseen: list[tuple[int, float, Tensor]] = []

    def add(self, step: int, lr: float, loss: Tensor) -> None:
        """Take in a step's loss; on a CPU it is looked at before the optimiser steps."""
        self.sums += torch.stack([loss.double(), self.sums.new_ones(())])
        self._unseen.append((step, lr, loss))
        if loss.device.type == "cpu" or len(self._unseen) >= WATCH_EVERY:
            self.look()

    def look(self) -> None:
        """Refuse to go on from a loss that is no number."""
        seen, self._unseen = self._unseen, []
        if not seen or bool(torch.isfinite(torch.stack([loss for *_, loss in seen])).all()):
            return
        step, lr, loss = next(row for row in seen if not bool(torch.isfinite(row[2])))
        raise NumberError(
            f"the loss is {float(loss)} at step {step} of stage '{self._stage}' (learning rate "
            f"{lr:g}); lower `lr`, clip gradients with `clip`, or use precision 'no'"
        )

    def mean(self) -> float:
        """The mean over all steps since the last reset, over all processes."""
        self.look()
        loss, steps = self._hardware.reduce(self.sums.clone()).tolist()
        return float(loss / steps)

    def reset(self) -> None:
        """Begin a new epoch."""
        self.sums.zero_()
