"""How good a network is: top-1 accuracy and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import DataError, NumberError
from ...core.labelled import call, predictions, split, to
from ...core.modes import mode
from .device import device_of
from .loss import check_classes


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
    """Top-1 accuracy and mean cross-entropy over all batches, in evaluation mode.

    Of a language model each token predicts the next one, and `loss` is in nats per token.

    Sums are kept in float64 on the device and read once, so that a GPU is never waited for.
    Every module's mode is put back afterwards.

    Args:
        model: gives [n, classes] for x.
        batches: pairs x [n, ...], y [n], or dicts of tokens; moved to the device of the model.

    Returns:
        `accuracy` in [0, 1], `loss`, and `n`, the number of samples or of tokens.
    """
    device = device_of(model)
    sums, n = torch.zeros(3, dtype=torch.float64, device=device), 0
    with mode(model, train=False):
        for batch in batches:
            x, y = split(batch)
            found, y = predictions(call(model, to(x, device)), y)
            if not len(y):
                continue
            logits = found.double()  # [n, classes]
            check_classes(logits, y)
            sums += _counts(logits, y.to(device, non_blocking=True))
            n += len(y)
    return _result(sums, n)


def _counts(logits: Tensor, y: Tensor) -> Tensor:
    """[3] float64: how many are right, the sum of the losses, how many labels are no class."""
    known = y.clamp(0, logits.shape[1] - 1)
    right = (logits.argmax(1) == y).sum().double()
    return torch.stack(
        [right, F.cross_entropy(logits, known, reduction="sum"), (known != y).sum().double()]
    )


def _result(sums: Tensor, n: int) -> dict[str, float]:
    if not n:
        raise DataError("there is nothing to evaluate on: the data gave no samples")
    right, loss, unknown = sums.tolist()
    if unknown:
        raise DataError(f"{unknown:.0f} of {n} labels are no class of the network; check the data")
    if not math.isfinite(loss):
        raise NumberError(
            "the network gave NaN or infinite outputs while it was evaluated; check its weights"
        )
    return {"accuracy": right / n, "loss": loss / n, "n": n}
