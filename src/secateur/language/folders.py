"""The public face of folders of language models: `prune_folder`, `plan_folder`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..api import as_recipe
from ..artifact import write_bytes
from ..core.device import pick_device
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..engine.blockwise.complete import check_files
from ..engine.blockwise.describe import card
from ..engine.blockwise.folder import Done, Progress, one_update
from ..engine.blockwise.folder import prune_folder as block_by_block
from ..engine.blockwise.output import check_free
from ..engine.blockwise.preview import Preview, preview
from ..engine.blockwise.shards import Shards
from ..engine.blockwise.skeleton import Skeleton
from ..engine.train import Training
from ..text.calibration import Sampling
from .figures import Figures, Tasks
from .memory import available, expected_peak
from .smaller import plan_smaller, prune_smaller, why_in_memory
from .texts import Given, check_decoder, fitting, local, prepared
from .whole import WholePreview, plan_whole, prune_whole


def prune_folder(
    model: str | Path,
    what: Recipe | str,
    out: str | Path,
    *,
    data: str | Path | Sequence[str] | None = None,
    sampling: Sampling | None = None,
    compare: bool = True,
    seed: int = 0,
    activations: Literal["memory", "disk"] = "memory",
    device: str | torch.device = "auto",
    training: Training | None = None,
    tasks: Tasks | Sequence[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Done:
    """Prune a language model from its folder into a new one.

    Methods with `walk="blocks"` go block by block, and the result loads like the original. All
    others work on the model in memory, where the expected peak has to fit; structures are taken
    out, the smaller network is proved equal to the masked one, and the folder loads with
    `from_pretrained` where its configuration can say the sizes, else with `secateur.load`.

    Args:
        model: a Hugging Face folder, or the name of a model on the hub; it is only read.
        what: a recipe, or a method's name with its `options`.
        out: the folder to be; it must be new or empty.
        data: texts, or what `read_texts` reads; for methods that look at activations or gradients,
            for a recovery, and to compare.
        sampling: how the texts become samples; as long as the model's context, at most 512 tokens.
        compare: whether to take the perplexity on held-out texts before and after, which loads the
            whole model; for a model larger than memory leave it out.
        seed: all randomness.
        activations: block by block, `disk` keeps what flows between blocks in files, `memory` in the
            machine's memory.
        device: where it is worked: `auto` (a GPU where there is one), `cpu`, `cuda`, … Block by block a
            GPU holds one block and its statistics, in memory the whole model.
        training: how a recovery trains; AdamW at 1e-4 by default.
        tasks: of the Language Model Evaluation Harness, asked before and after; loads the whole model.
        progress: called with a small dict at every event.

    Killed, the same call goes on where it was, if the method goes block by block.
    """
    recipe = as_recipe(what, options)
    source = local(model)
    check_free(Path(out), source)
    check_files(Skeleton(Shards(source)))
    check_decoder(source, recipe, data is not None)
    given = Given(str(model), data, sampling, compare, seed, training, pick_device(device))
    asked = tasks if isinstance(tasks, Tasks | None) else Tasks(tasks)
    if recipe.walk != "blocks" and (why := why_in_memory(source, recipe)):
        if activations != "memory":
            raise PlanError(
                f"method '{recipe.method}' works on the whole model in memory ({why}); "
                "activations='disk' would be ignored"
            )
        return prune_whole(source, recipe, Path(out), given, progress, why, asked)
    if training is not None:
        raise PlanError("block by block nothing is trained; `training` would be ignored")
    if recipe.walk == "whole":
        return prune_smaller(source, recipe, Path(out), given, activations, progress, asked)
    return _by_blocks(source, recipe, Path(out), given, activations, progress, asked)


def _by_blocks(
    source: Path,
    recipe: Recipe,
    out: Path,
    given: Given,
    activations: Literal["memory", "disk"],
    progress: Progress | None,
    tasks: Tasks | None,
) -> Done:
    one_update(recipe)
    ready = prepared(source, recipe, given, needed=bool(recipe.required()))
    figures = Figures(source, given, ready, tasks)
    figures.take_folder("dense", source)

    def finish(folder: Path, record: dict[str, Any]) -> None:
        figures.take_folder("pruned", folder)
        record |= figures.facts
        write_bytes(folder / "README.md", card(record).encode())

    return block_by_block(
        source,
        recipe,
        out,
        batches=ready.calibration.batches if ready.calibration is not None else (),
        seed=given.seed,
        activations=activations,
        device=given.device,
        progress=progress,
        facts=ready.facts,
        before_naming=finish,
    )


def plan_folder(
    model: str | Path,
    what: Recipe | str,
    *,
    sampling: Sampling | None = None,
    activations: Literal["memory", "disk"] = "memory",
    **options: Any,
) -> Preview | WholePreview:
    """What `prune_folder` would do, need and leave; a model that is pruned whole is read for it."""
    source, recipe = local(model), as_recipe(what, options)
    skeleton = Skeleton(Shards(source))
    check_files(skeleton)
    chosen = fitting(source, sampling, 0)
    if recipe.walk != "blocks" and (why := why_in_memory(source, recipe)):
        return plan_whole(source, recipe, why)
    if recipe.walk == "whole":
        return plan_smaller(source, recipe, chosen, activations)
    return preview(skeleton, recipe, chosen, activations)


def short_of_memory(source: Path, recipe: Recipe) -> str:
    """Why a recipe cannot be carried out on a folder's model here for want of memory; else empty."""
    free = available()
    if free is None or recipe.walk == "blocks" or expected_peak(Shards(source), recipe) <= free:
        return ""
    return "take more memory than there is" if why_in_memory(source, recipe) else ""
