"""The smaller network of a run that pruned what can be taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..api import Result
from ..artifact.machine import machine
from ..artifact.source import before_pruning
from ..core.errors import SecateurError
from ..core.origin import set_origin
from ..core.recipe import Recipe
from ..engine.execute import Outcome
from ..engine.train.device import device_of
from ..saving import save
from ..shrinking import can_go, shrink
from ..structure.example import example_in_words

FOLDER = "small"
INPUTS = 2
"""Of the proof: two leave the batch free; what is told is of one, as budgets and tables count."""


def deliver(
    outcome: Outcome, recipe: Recipe, seed: int, example: Tensor, folder: Path
) -> dict[str, Any] | None:
    """Take out what a run masked, prove it, save the artifact; what became smaller, as plain data.

    None where masks are all that a method promises (single weights, rows, blocks). A network that
    cannot be made smaller keeps its masks, and the reason stands in the result.

    Args:
        outcome: a finished run.
        recipe, seed: of the run.
        example: [1, ...] one input; its shape and device count.
        folder: of the run; the artifact becomes its `small/`.
    """
    if not can_go(outcome.targets) and outcome.edits is None:
        return None
    record = {
        "recipe": recipe.to_dict(), "digest": recipe.digest, "seed": seed, "points": outcome.points,
        "machine": machine(device_of(outcome.model)),
    }  # fmt: skip
    result = Result(outcome.model, outcome.masks, outcome.targets, outcome.target_masks, record)
    if outcome.edits is not None:
        return _at_run_time(result, outcome, example, folder)
    try:
        small = shrink(result, _noise(example))
        small.record["macs"] = [count // INPUTS for count in small.record["macs"]]
        save(small, folder / FOLDER, overwrite=True)
    except SecateurError as error:
        return {"refused": str(error)}
    facts = ("parameters", "macs", "layers", "level", "exact", "difference")
    return {"folder": FOLDER} | {key: small.record[key] for key in facts if key in small.record}


def _at_run_time(result: Result, outcome: Outcome, example: Tensor, folder: Path) -> dict[str, Any]:
    """Save a network whose layers decide for every input; nothing became smaller."""
    assert outcome.edits is not None
    origin = before_pruning(result.model, example_in_words(example))
    set_origin(result.model, origin.model_copy(update={"edits": (*origin.edits, outcome.edits)}))
    save(result, folder / FOLDER, overwrite=True)
    return {"folder": FOLDER, "run_time": outcome.points[-1].get("run_time")}


def _noise(example: Tensor) -> Tensor:
    """Inputs that leave no path of the network at zero."""
    rng = torch.Generator().manual_seed(0)
    return torch.randn(INPUTS, *example.shape[1:], generator=rng).to(example)
