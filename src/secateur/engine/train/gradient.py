"""The gradient of one batch: this process's share of it, in parts, from labels and a teacher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import DataError, PlanError
from .device import Hardware
from .loss import check_classes, distilled
from .modes import mode
from .spec import Training

Loss = Callable[[Tensor, Tensor], Tensor]


class Gradient:
    """Accumulates the gradient of a batch's mean loss into `.grad`.

    Args:
        net: the model as the hardware prepared it.
        training: label smoothing, parts, distillation.
        hardware: where to compute, and with how many processes.
        loss: (outputs, y) -> mean loss; cross-entropy with label smoothing where None.
        teacher: the network to learn from with `training.distil`.
    """

    def __init__(
        self,
        net: nn.Module,
        training: Training,
        hardware: Hardware,
        loss: Loss | None,
        teacher: nn.Module | None,
    ) -> None:
        _check(training, loss, teacher)
        self._net, self._training, self._hardware = net, training, hardware
        self._own_loss = loss
        self._teacher = teacher.to(hardware.device) if teacher is not None else None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of the batch, detached; averaged over the processes it is the mean loss."""
        x, y, n = self._share(x, y)
        parts = self._training.accumulate
        pairs = list(zip(x.chunk(parts), y.chunk(parts), strict=True))
        total = torch.zeros((), device=self._hardware.device)
        for number, (xs, ys) in enumerate(pairs, start=1):
            last = number == len(pairs)
            with nullcontext() if last else self._hardware.no_sync(self._net):
                loss = self._part(xs, ys) * (len(xs) / n)
                self._hardware.backward(loss)
            total += loss.detach()
        return total

    def _share(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
        """This process's samples, on its device, and the mean number per process."""
        world, n = self._hardware.num_processes, len(x)
        if n < world or len(y) != n:
            raise DataError(
                f"a batch of {n} inputs and {len(y)} labels cannot be trained on by {world} "
                "process(es); each needs at least one labelled sample"
            )
        rank, device = self._hardware.process_index, self._hardware.device
        x, y = x.tensor_split(world)[rank], y.tensor_split(world)[rank]
        return x.to(device, non_blocking=True), y.to(device, non_blocking=True), n / world

    def _part(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of one part."""
        outputs = self._net(x)
        loss = self._label_loss(outputs, y)
        distil = self._training.distil
        if self._teacher is None or distil is None:
            return loss
        with torch.no_grad(), mode(self._teacher, train=False), self._hardware.autocast():
            soft = self._teacher(x).float()
        return distilled(loss, outputs, soft, distil.temperature, distil.weight)

    def _label_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The caller's loss, or cross-entropy."""
        if self._own_loss is not None:
            return self._own_loss(outputs, y)
        check_classes(outputs, y)
        return F.cross_entropy(outputs, y, label_smoothing=self._training.label_smoothing)


def _check(training: Training, loss: Loss | None, teacher: nn.Module | None) -> None:
    """Refuse what would be silently ignored."""
    if loss is not None and training.label_smoothing:
        raise PlanError("label_smoothing works with the built-in loss only; set it to 0")
    if training.distil is not None and teacher is None:
        raise PlanError("training.distil needs a teacher; pass the trained dense network")
    if training.distil is None and teacher is not None:
        raise PlanError("a teacher was given, but training.distil is None; it would be ignored")
