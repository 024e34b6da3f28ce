"""Methods that look at the whole model: in memory, structures taken out and proved, an artifact left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..api import Result, prune
from ..artifact.huggingface import stock_model
from ..core.errors import DataError
from ..core.recipe import Recipe
from ..core.run_time import RunTime, run_time_layers
from ..engine.blockwise.folder import Done, Progress
from ..engine.blockwise.memory import return_freed_tensors
from ..engine.blockwise.output import check_disk
from ..engine.blockwise.preview import share_left, size
from ..engine.blockwise.shards import Shards
from ..engine.blockwise.skeleton import quiet
from ..engine.blockwise.weightless import example_for
from ..engine.plan import Plan, make_plan
from ..engine.program import why_trained
from ..engine.train import preset
from ..saving import save
from ..structural import Shrunk, can_go, shrink
from ..text.calibration import Calibration, Sampling
from .figures import Figures, Tasks
from .memory import check_memory, expected_peak
from .texts import Given, Ready, Texts, prepared

Batches = list[dict[str, Tensor]]
PER_SAMPLE = frozenset({"gradient_squared"})
"""Statistics whose mean over batches means what the papers mean only for batches of one sample."""


@dataclass(frozen=True)
class WholePreview:
    """A plan for a model in memory, and its needs.

    Attributes:
        plan: targets, groups, budgets.
        disk: bytes of the original's weights, and about those of the result's.
        memory: bytes at the peak, about.
        why: what keeps the method from going block by block.
        blocks: 1: the model is one piece.
    """

    plan: Plan
    disk: tuple[int, int]
    memory: int
    why: str
    blocks: int = 1

    def lines(self) -> Iterator[str]:
        """The preview as text."""
        yield from self.plan.lines()
        yield f"the whole model is in memory: {self.why}"
        yield f"disk: about {size(self.disk[1])}; the original {size(self.disk[0])}"
        yield f"memory beside the program, about {size(self.memory)}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def plan_whole(source: Path, recipe: Recipe, why: str) -> WholePreview:
    """The preview of a recipe on the model of a folder, which is read for it."""
    shards = Shards(source)
    peak = expected_peak(shards, recipe)
    check_memory(peak, source, why)
    model = opened(source)
    plan = make_plan(model, recipe, example_for(model))
    left = round(shards.bytes * share_left(plan, model))
    return WholePreview(plan, (shards.bytes, left), peak, why)


def prune_whole(
    source: Path,
    recipe: Recipe,
    out: Path,
    given: Given,
    progress: Progress | None,
    why: str = "",
    tasks: Tasks | None = None,
) -> Done:
    """Prune the model of a folder in memory and save what is left; `why` it is not done by blocks."""
    check_memory(expected_peak(Shards(source), recipe), source, why, given.device)
    check_disk(out, Shards(source).bytes)
    needs = recipe.looks_at() or recipe.recovery or recipe.tuning or why_trained(recipe)
    calibrates = isinstance(recipe.materialise, RunTime) and recipe.materialise.calibrates
    ready = prepared(source, recipe, given, needed=bool(needs) or calibrates)
    return_freed_tensors()
    model = opened(source).to(given.device)
    dense = sum(p.numel() for p in model.parameters())
    compared = Figures(source, given, ready, tasks)
    compared.take("dense", model)
    result = _pruned(model, recipe, given, ready, progress)
    small = taken_out(result)
    compared.take("pruned", result.model if small is None else small.model)
    what = small if small is not None else result
    sizes = [dense, sum(p.numel() for p in what.model.parameters())]
    return _saved(what, source, out, {**ready.facts, "parameters": sizes, **compared.facts})


def opened(source: Path) -> nn.Module:
    """The model of a folder, of the class its configuration names, without a cache of keys."""
    with quiet():
        model: Any = stock_model(source)
    model.config.use_cache = False
    return model.eval()


def _pruned(
    model: nn.Module,
    recipe: Recipe,
    given: Given,
    ready: Ready,
    progress: Progress | None,
) -> Result:
    """The masked model, recovered where the recipe says so."""
    calibration = ready.calibration
    trains = bool(recipe.recovery or recipe.tuning or why_trained(recipe))
    training = given.training or (preset("language") if trains else None)
    batches = with_labels(calibration.batches) if calibration is not None else None
    data: Any = batches
    val = None
    if training is not None:
        if batches is None:
            raise DataError("adapters and recoveries train on the calibration data; give data")
        data = stacked(batches)
        if given.compare and ready.texts is not None:
            val = _validation(ready.tokenizer, ready.texts, calibration)
    if batches is not None and recipe.required() & PER_SAMPLE:
        batches = one_by_one(batches)
    return prune(
        model,
        recipe,
        example=example_for(model),
        data=data,
        calibration=batches,
        val=val,
        training=training,
        trained=True,
        seed=given.seed,
        in_place=True,
        progress=progress,
    )


def _validation(tokenizer: Any, texts: Texts, calibration: Calibration | None) -> Any:
    """The texts left for the comparison, as long as the samples are."""
    from ..text.calibration import calibrate

    assert calibration is not None
    length = int(calibration.facts["length"])
    rows = Sampling(len(texts.comparison), length, packed=False)
    return with_labels(calibrate(tokenizer, texts.comparison, rows).batches)


def with_labels(batches: Sequence[Mapping[str, Tensor]]) -> Batches:
    """Every batch with a mask, and its tokens as labels; padding is not predicted."""
    out = []
    for batch in batches:
        ids = batch["input_ids"]
        mask = batch.get("attention_mask", torch.ones_like(ids))
        labels = ids.masked_fill(mask == 0, -100)
        out.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return out


def stacked(batches: Batches) -> dict[str, Tensor]:
    """All batches in one, padded at the end to the longest sample."""
    widest = max(batch["input_ids"].shape[1] for batch in batches)
    fill = {"labels": -100}
    return {
        name: torch.cat(
            [
                nn.functional.pad(b[name], (0, widest - b[name].shape[1]), value=fill.get(name, 0))
                for b in batches
            ]
        )
        for name in batches[0]
    }


def one_by_one(batches: Batches) -> Batches:
    """Batches of one sample."""
    return [
        {name: value[i : i + 1] for name, value in batch.items()}
        for batch in batches
        for i in range(len(batch["input_ids"]))
    ]


def taken_out(result: Result) -> Shrunk | None:
    """The smaller model, proved; None where nothing can be taken out: weights are zero, or no unit is out."""
    if not can_go(result.targets):
        return None
    return shrink(result, example_for(result.model), in_place=True)


def _saved(what: Result | Shrunk, source: Path, out: Path, facts: Mapping[str, Any]) -> Done:
    """The artifact, with everything measured in its record and on its card."""
    record = {**what.record, **facts}
    if run_time_layers(what.model):
        record |= {
            "loadable": "secateur",
            "why": "layers decide for every input what they leave out",
        }
    record.setdefault("loadable", "stock")
    model: Any = what.model
    model.config.use_cache = True
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    save(replace(what, record=record), out, tokenizer=source if has_tokenizer(source) else None)
    return Done(out, record, {"pruning": _seconds(record)})


def has_tokenizer(source: Path) -> bool:
    """Whether a folder holds a tokenizer's files."""
    from ..artifact.huggingface import TOKENIZER_FILES

    return any((source / name).is_file() for name in TOKENIZER_FILES)


def _seconds(record: Mapping[str, Any]) -> float:
    run = record.get("pruning", record)
    return float(run["seconds"])
