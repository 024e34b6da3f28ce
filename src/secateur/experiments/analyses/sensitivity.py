"""How much each layer by itself can lose: accuracy against the sparsity of one layer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.density import keep_count
from ...core.errors import PlanError
from ...core.select import keep_rows
from ...engine.store import FolderStore
from ...engine.train import evaluate
from ...structure.prunable import prunable

if TYPE_CHECKING:
    from ..runner import Runner


def sensitivity(
    runner: Runner, sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.99)
) -> dict[str, Any]:
    """Prune one layer by magnitude, all others dense, and measure validation accuracy.

    Uses the trained dense network of the study's first seed; the layer is put back each time.
    Cells are accuracies: rows = layers, columns = `sparsities`.
    """
    model, val = _trained(runner)
    dense = evaluate(model, val)
    layers = prunable(model)
    rows = [[_accuracy(model, weight.tensor, s, val) for s in sparsities] for weight in layers]
    return {
        "kind": "sensitivity",
        "layers": [weight.name for weight in layers],
        "sparsities": list(sparsities),
        "accuracy": rows,
        "dense": dense["accuracy"],
    }


def _trained(runner: Runner) -> tuple[nn.Module, Any]:
    """The dense network after training, and validation batches."""
    for planned in runner.planned:
        saved = FolderStore(runner.folder(planned)).get("trained")
        result = runner.result(planned)
        if saved is not None and result is not None and result["points"][0]["sparsity"] == 0:
            model, setting = runner.workshop.make(planned.config, planned.seed)
            model.load_state_dict(saved.tensors)
            return model, setting.val if setting.val is not None else setting.test
    raise PlanError("analysis 'sensitivity' needs a finished run that trains the dense network")


@torch.no_grad()
def _accuracy(model: nn.Module, weight: Tensor, sparsity: float, val: Any) -> float:
    before = weight.detach().clone()
    keep = keep_count(1 - sparsity, weight.numel())
    mask = keep_rows(before.abs().reshape(1, -1), torch.tensor([keep], device=weight.device))
    weight.mul_(mask.view(weight.shape))
    try:
        return float(evaluate(model, val)["accuracy"])
    finally:
        weight.copy_(before)
