"""How far the predictions of a masked network are from those of the network it was."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import NumberError, PlanError
from ...core.labelled import Inputs
from ...core.padding import valid_of
from ..collect.observing import forward


def log_probabilities(model: nn.Module, batch: Inputs) -> Tensor:
    """[predictions, classes] log p of every sample, or of every token that is no padding; float32."""
    output: Any = forward(model, batch)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.dim() not in (2, 3) or logits.shape[-1] < 2:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise PlanError(
            "candidates are compared by the scores of classes or tokens, [samples, classes] or [samples, "
            f"tokens, vocabulary]; this network gives {got}"
        )
    valid = valid_of(batch)
    if logits.dim() == 3 and valid is not None and valid.shape == logits.shape[:2]:
        logits = logits[valid.to(logits.device)]
    return torch.log_softmax(logits.flatten(0, -2).float(), -1)


def dense_log_probabilities(model: nn.Module, batch: Inputs) -> Tensor:
    """The same of the network as it is, whose outputs have to be finite."""
    found = log_probabilities(model, batch)
    if bool(found.isnan().any()):
        raise NumberError(
            "the network puts out NaN or infinite values before anything is pruned; check weights and data"
        )
    return found


def divergence(p: Tensor, q: Tensor) -> float:
    """Σ KL(p ‖ q) over the predictions, infinite where q is not finite.

    Args:
        p, q: [predictions, classes] log-probabilities.
    """
    terms = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True)
    terms = terms.masked_fill(p == -math.inf, 0.0)  # 0 · log 0 = 0
    found = float(terms.double().sum())
    return found if math.isfinite(found) else math.inf
