"""Scores of a model's weights, without pruning anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ..core.axes import Criterion
from ..core.component import from_dict
from ..structure import Weights
from . import collect
from .run import Loss
from .step import score_all
from .view import ModelView


def score_model(
    model: nn.Module,
    criterion: str,
    options: Mapping[str, Any],
    batches: Iterable[Any] | None,
    loss: Loss | None,
    example: Any,
    seed: int,
) -> dict[str, Tensor]:
    """{target: scores} of all single weights, the classifier's too."""
    made = from_dict(Criterion, {"name": criterion, **options})
    targets = Weights(classifier=True).targets(model, example)
    params = [t.members[0].param for t in targets]
    stats = (
        collect.collect(model, made.required(), params, batches, loss, seed=seed, example=example)
        if made.required()
        else {}
    )
    return score_all(made, ModelView(model, targets, None, stats, seed))
