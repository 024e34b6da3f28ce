"""Does a ticket found on one data set serve another? (Morcos et al. 2019, arXiv 1906.02773)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ...core.random import generator
from ...engine.run import Setting
from ...engine.store import FolderStore
from ...engine.train import Trainer, evaluate
from ...materialise import HardMasks
from ..config import Planned

if TYPE_CHECKING:
    from ..runner import Runner

Masks = Mapping[str, Tensor]


def transfer(runner: Runner, to: str, method: str = "lottery-ticket") -> dict[str, Any]:
    """Train on the data set `to` with the final masks of the study's runs of `method`.

    Every ticket is trained from new initial weights of its own seed on `to`, beside a random mask
    of the same layer densities and the dense network, with the study's training.
    """
    tickets = [p for p in runner.planned if p.method == method and runner.result(p) is not None]
    if not tickets:
        raise PlanError(f"analysis 'transfer' needs a finished run of '{method}'")
    rows: dict[str, list[float]] = {}
    sparsity = 0.0
    for planned in tickets:
        masks, sparsity = _ticket(runner, planned)
        for name, chosen in (
            ("ticket", masks),
            ("random", _shuffled(masks, planned)),
            ("dense", {}),
        ):
            rows.setdefault(name, []).append(_accuracy(runner, planned, to, chosen))
    source = runner.planned[0].config.data.source
    return {
        "kind": "transfer",
        "sparsity": sparsity,
        "rows": [
            {"ticket": name, "from": source, "to": to, "accuracy": a, "seeds": len(a)}
            for name, a in rows.items()
        ],
    }


def _ticket(runner: Runner, planned: Planned) -> tuple[Masks, float]:
    result = runner.result(planned)
    assert result is not None
    last = len(result["points"]) - 1
    saved = FolderStore(runner.folder(planned)).get(f"point-{last:02d}")
    assert saved is not None
    return saved.masks, result["points"][last]["sparsity"]


def _shuffled(masks: Masks, planned: Planned) -> Masks:
    out = {}
    for name, mask in masks.items():
        order = torch.randperm(mask.numel(), generator=generator(planned.seed, "transfer", name))
        out[name] = mask.flatten()[order].view(mask.shape)
    return out


def _accuracy(runner: Runner, planned: Planned, to: str, masks: Masks) -> float:
    data = planned.config.data.model_copy(update={"source": to, "mean": None, "std": None})
    config = planned.config.model_copy(update={"data": data})
    model, setting = runner.workshop.make(config, planned.seed)
    _check_fit(model, masks, to)
    return _trained_accuracy(model, setting, masks)


def _check_fit(model: nn.Module, masks: Masks, to: str) -> None:
    shapes = {name: p.shape for name, p in model.named_parameters()}
    for name, mask in masks.items():
        if shapes.get(name) != mask.shape:
            raise PlanError(
                f"the ticket's '{name}' of shape {tuple(mask.shape)} does not fit the network for "
                f"'{to}'; transfer works between data sets of one image shape"
            )


def _trained_accuracy(model: nn.Module, setting: Setting, masks: Masks) -> float:
    if setting.training is None or setting.train is None:
        raise PlanError("analysis 'transfer' trains; give the study a training")
    hard = HardMasks(model, dict(masks)) if masks else None
    batches = setting.train("transfer")
    trainer = Trainer(
        model, setting.training, batches, masks=hard, seed=setting.seed, stage="transfer"
    )
    trainer.run(0, setting.lengths()[1])
    return float(evaluate(model, setting.test)["accuracy"])
