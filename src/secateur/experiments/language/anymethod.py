"""Methods that do more than take coupled structures out: solvers, recoveries, layers, bases, masks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor

from ...api import Result, prune
from ...core.recipe import Recipe
from ...data.questions import Question
from ...shrinking import can_go, shrink
from .pruned import Pruned, checked
from .turns import calibration, calibration_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .subject import Subject

MASKED = "masks"
"""The level of a model of which nothing can be taken out: removed weights are zero."""


def prune_any(subject: Subject, recipe: Recipe) -> Pruned:
    """A pruned copy of the subject's model: smaller where structures go, else with zeros."""
    model = copy.deepcopy(subject.model)
    training = subject.study.trained if recipe.recovery is not None else None
    data, val = None, None
    if training is not None:
        model.requires_grad_(True)
        rows = subject.questions.train
        (data,) = _batches(
            subject, rows, len(rows)
        )  # in one, from which training draws its batches
        val = _batches(subject, subject.validation, training.batch_size)
    result = prune(
        model,
        recipe,
        example=subject.example,
        data=data,
        calibration=subject.batches,
        val=val,
        loss=calibration_loss,
        training=training,
        trained=True,
        seed=subject.study.seed,
        in_place=True,
    )
    return _delivered(subject, result)


def _batches(subject: Subject, rows: Sequence[Question], size: int) -> list[dict[str, Tensor]]:
    made = calibration(subject.tokenizer, rows, subject.study.model.chat, size)
    return [{k: v.to(subject.device) for k, v in batch.items()} for batch in made]


def _delivered(subject: Subject, result: Result) -> Pruned:
    layers = {
        target.name: (target.units - int(result.units[target.name].sum()), target.units)
        for target in result.targets
    }
    recovery = tuple(result.record["recovery"])
    if not can_go(result.targets):
        masked = cast("PreTrainedModel", result.model)
        return Pruned(masked.eval(), layers, MASKED, 0.0, recovery)
    small = shrink(result, subject.example, in_place=True)
    level, error = small.record["level"], small.record["error"]
    return Pruned(checked(small.model, level), layers, level, error, recovery)
