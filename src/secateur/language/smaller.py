"""Methods that take structures out, with one block of the model in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..core.recipe import Recipe
from ..engine.blockwise.folder import Done, Progress
from ..engine.blockwise.preview import Preview, Sampled, preview_smaller
from ..engine.blockwise.shards import Shards
from ..engine.blockwise.skeleton import Skeleton, build
from ..engine.blockwise.smaller import Ending, shrink_folder, why_not_by_blocks, why_whole
from ..engine.blockwise.weightless import find, why_untraced
from ..saving import describe, load
from ..structural import can_go
from .figures import Figures, Tasks
from .texts import Given, prepared
from .whole import with_labels


def why_in_memory(source: Path, recipe: Recipe) -> str:
    """What makes a recipe need the whole model of a folder in memory; empty where nothing does."""
    reason = why_whole(recipe)
    if reason:
        return reason
    model = build(Shards(source))
    if recipe.basis is not None:
        return why_not_by_blocks(Shards(source), recipe)
    if recipe.structure.traces:
        return why_untraced(model)
    if can_go(find(model, recipe).targets):
        return ""
    return "single weights are compared across all of it"


def plan_smaller(
    source: Path, recipe: Recipe, sampled: Sampled, activations: Literal["memory", "disk"]
) -> Preview:
    """What taking structures out would do, need and leave; no weight is read."""
    return preview_smaller(Skeleton(Shards(source)), recipe, sampled, activations)


def prune_smaller(
    source: Path,
    recipe: Recipe,
    out: Path,
    given: Given,
    activations: Literal["memory", "disk"],
    progress: Progress | None,
    tasks: Tasks | None = None,
) -> Done:
    """Take structures out of the model of a folder in two passes over its files."""
    ready = prepared(source, recipe, given, needed=bool(recipe.observed()))
    calibration = ready.calibration
    figures = Figures(source, given, ready, tasks)
    figures.take_folder("dense", source)

    def finish(ending: Ending) -> None:
        def tell() -> None:
            ending.record |= {**ready.facts, **figures.facts}
            describe(ending.model, ending.folder, ending.record, stock=not ending.why)

        tell()
        if figures.any:
            figures.take("pruned", load(ending.folder))
            tell()

    return shrink_folder(
        source,
        recipe,
        out,
        finish,
        batches=with_labels(calibration.batches) if calibration is not None else (),
        seed=given.seed,
        activations=activations,
        device=given.device,
        progress=progress,
    )
