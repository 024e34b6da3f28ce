"""How many of a network's predictions are not what the labels say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...core.errors import DataError, PlanError
from ...core.labelled import Inputs, call, predictions


@torch.no_grad()
def mistakes(model: nn.Module, x: Inputs, y: Tensor) -> tuple[int, int]:
    """(wrong predictions, predictions): the largest score beside the class of a sample, or the next token.

    Scores that are not all finite are wrong.
    """
    scores, labels = predictions(call(model, x), y)
    if not isinstance(scores, Tensor) or scores.dim() != 2 or labels.dim() != 1:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise PlanError(
            "errors are counted where a network scores classes or tokens, [samples, classes] beside labels "
            f"[samples]; this network gives {got} beside labels {list(labels.shape)}"
        )
    if labels.is_floating_point():
        raise DataError(
            "errors are counted by labels that are whole numbers of classes, not by floats"
        )
    right = (scores.argmax(1) == labels.to(scores.device)) & scores.isfinite().all(1)
    return int((~right).sum()), len(labels)
