"""The gradient of one batch: this process's share of it, in parts, from labels and a teacher."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import DataError, PlanError
from ...core.labelled import Inputs, call, chunks, predictions, samples, share, to, weight
from ...core.modes import mode
from ...core.run_time import penalties
from .device import Hardware
from .loss import check_classes, distilled
from .spec import Training

Loss = Callable[[Any, Tensor], Tensor]


class Gradient:
    """Accumulates the gradient of a batch's mean loss into `.grad`.

    The mean is over samples or, of a language model, over the tokens that are predicted.

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

    def __call__(self, x: Inputs, y: Tensor) -> Tensor:
        """The loss of the batch, detached; averaged over the processes it is the mean loss."""
        x, y, n = self._share(x, y)
        parts = self._training.accumulate
        pairs = list(zip(chunks(x, parts), y.chunk(parts), strict=True))
        total = torch.zeros((), device=self._hardware.device)
        for number, (xs, ys) in enumerate(pairs, start=1):
            last = number == len(pairs)
            with nullcontext() if last else self._hardware.no_sync(self._net):
                loss = self._part(xs, ys) * (weight(xs, ys) / n)
                self._hardware.backward(loss)
            total += loss.detach()
        return total

    def _share(self, x: Inputs, y: Tensor) -> tuple[Inputs, Tensor, float]:
        """This process's samples, on its device, and the mean number of predictions per process."""
        world, n = self._hardware.num_processes, samples(x)
        if n < world or len(y) != n:
            raise DataError(
                f"a batch of {n} inputs and {len(y)} labels cannot be trained on by {world} "
                "process(es); each needs at least one labelled sample"
            )
        every = weight(x, y)
        if not every:
            raise DataError("a batch has no token to predict; its labels are all -100")
        rank, device = self._hardware.process_index, self._hardware.device
        x, y = to(share(x, world, rank), device), y.tensor_split(world)[rank]
        return x, y.to(device, non_blocking=True), every / world

    def _part(self, x: Inputs, y: Tensor) -> Tensor:
        """The mean loss of one part."""
        with penalties(self._net) as added:
            found = call(self._net, x)
        outputs, labels = predictions(found, y)
        loss = self._own_loss(found, y) if self._own_loss else self._label_loss(outputs, labels)
        loss = sum(added, loss)
        distil = self._training.distil
        if self._teacher is None or distil is None:
            return loss
        with torch.no_grad(), mode(self._teacher, train=False), self._hardware.autocast():
            soft = predictions(call(self._teacher, x), y)[0].float()
        return distilled(loss, outputs, soft, distil.temperature, distil.weight)

    def _label_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy; 0 where a part has nothing to predict."""
        if not len(y):
            return outputs.sum() * 0
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
