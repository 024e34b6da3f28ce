"""The public face: methods, recipe, plan, prune, score."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from . import methods as _catalogue  # noqa: F401  (fills the registry of methods)
from .artifact.architecture import hugging_face
from .artifact.machine import machine
from .artifact.source import before_pruning
from .batches import as_batches, cross_entropy
from .core.axes import Reorder
from .core.cards import METHODS, Method, assumed
from .core.cards import recipe as _recipe
from .core.edits import Edits
from .core.errors import PlanError
from .core.network import plain_network
from .core.origin import Origin, set_origin
from .core.recipe import Recipe
from .core.result import Result
from .engine.execute import execute
from .engine.plan import Plan, make_plan
from .engine.proxies import proxies as _proxies
from .engine.run import Loss, Progress, Run, Setting
from .engine.scoring import score_model
from .engine.store import FolderStore, Store
from .engine.train import Training
from .engine.train.device import device_of
from .structure.example import example_in_words


def methods() -> dict[str, Method]:
    """The catalogue: method name -> its card and the function that builds its recipe."""
    return dict(sorted(METHODS.items()))


def recipe(method: str, **options: Any) -> Recipe:
    """The recipe of a catalogue method: `recipe("snip", sparsity=0.9)`."""
    return _recipe(method, **options)


def as_recipe(what: Recipe | str, options: Mapping[str, Any]) -> Recipe:
    """A recipe as given, or by its name with options."""
    if isinstance(what, str):
        return recipe(what, **options)
    if options:
        raise PlanError(
            f"options {sorted(options)} belong to a method's name, not to a finished recipe"
        )
    return what


def plan(model: nn.Module, what: Recipe | str, example: Any = None, **options: Any) -> Plan:
    """What a recipe would do to a model: targets, groups, budgets; nothing is touched."""
    chosen = as_recipe(what, options)
    told = assumed(what, options) if isinstance(what, str) else ""
    return make_plan(plain_network(model), chosen, example, told=told)


def prune(
    model: nn.Module,
    what: Recipe | str,
    *,
    example: Any = None,
    data: Any = None,
    calibration: Any = None,
    val: Any = None,
    test: Any = None,
    loss: Loss = cross_entropy,
    training: Training | None = None,
    trained: bool = False,
    seed: int = 0,
    in_place: bool = False,
    on_collapse: Literal["report", "error"] = "report",
    folder: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Prune `model` by a recipe or by the name of a method.

    Masks that the network carries hold where the recipe only trains it (`dense`) or says so
    (`carried=True`, as that of `transferred-ticket`); any other chooses anew, from all weights, which
    one line of the log says.

    Args:
        model: any network; a copy is pruned unless `in_place` is set, on the device where it lies,
            to which data that are not made of batches come batch by batch. Of one in `torch.compile` or
            `DataParallel` the network inside.
        what: a `Recipe`, or a method's name with its `options` (`sparsity=0.9`) and those that any
            method takes: `budget={"macs": "50%"}`, `round_to`, `protect`, `floors`, `caps`.
        example: an input (tensor, tuple of arguments, dict of keywords) for what needs a forward
            pass; the first batch of `data` serves where none is given.
        data: a pair of tensors (x, y), a dict of them (`input_ids`, `attention_mask`, `labels`), a
            list of batches or a data loader: for scores and training.
        calibration: the same, where scores are to be taken on other batches than training.
        val, test: the same, to evaluate on; test data are touched once, at the end.
        loss: (model, batch) -> scalar, for scores that need gradients.
        training: how to train; without it a trained network is pruned and nothing is trained.
        trained: whether `model` comes trained: `training` then is for the recovery alone, unless the
            method works while the network trains; and scores are taken with the running statistics
            of batch norms, as they are where these have seen batches, else with the batch's.
        seed: all randomness.
        on_collapse: `report`, or `error` when a layer or every path is cut.
        folder: where to checkpoint; a killed call goes on there when it is made again.
        progress: called with a small dict at every event.
    """
    chosen = as_recipe(what, options)
    model = plain_network(model)
    _check_values(model)
    network = model if in_place else copy.deepcopy(model)
    size = training.batch_size if training is not None else 128
    setting = Setting(
        training=training,
        trained=trained,
        train=_training_batches(data, size, seed) if training is not None else None,
        scoring=as_batches(
            data if calibration is None else calibration,
            size,
            seed,
            "scoring",
            shuffle=False,
            device=device_of(network),
        ),
        val=as_batches(val, 512, seed, shuffle=False),
        test=as_batches(test, 512, seed, shuffle=False),
        loss=loss,
        example=example if example is not None else _first_input(data, network),
        seed=seed,
        on_collapse=on_collapse,
    )
    store: Store | None = FolderStore(Path(folder)) if folder is not None else None
    origin = before_pruning(model, example_in_words(setting.example))
    run = Run(chosen, network, setting, store, progress=progress)
    outcome = execute(run)
    record = {"recipe": chosen.to_dict(), "digest": chosen.digest, "seed": seed}
    if run.recipe != chosen:  # something was measured first
        record["allocator"] = run.recipe.allocator.to_dict()
    record |= {"points": outcome.points, "seconds": outcome.seconds}
    record["machine"] = machine(device_of(outcome.model))
    if "budget" in outcome.points[-1]:
        record["budget"] = outcome.points[-1]["budget"]
    if "search" in outcome.points[-1]:
        record["search"] = outcome.points[-1]["search"]
    record["recovery"] = _recovered(outcome.points, outcome.trained)
    if absent := chosen.structure.absent(outcome.targets):
        record["absent"] = list(absent)
    if chosen.basis is not None and not isinstance(chosen.basis, Reorder):
        rewritten = Edits(basis=chosen.basis.to_dict())
        origin = origin.model_copy(update={"edits": (*origin.edits, rewritten)})
    if outcome.edits is not None:
        origin = origin.model_copy(update={"edits": (*origin.edits, outcome.edits)})
    set_origin(outcome.model, _switched(outcome.model, origin))
    return Result(outcome.model, outcome.masks, outcome.targets, outcome.target_masks, record)


def _check_values(model: nn.Module) -> None:
    """Weights of the meta device have no values to compare."""
    empty = next((name for name, p in model.named_parameters() if p.is_meta), None)
    if empty is not None:
        raise PlanError(
            f"'{empty}' lies on the meta device and has no values to choose by; load the weights first "
            "(`secateur.trace` and `secateur.plan` need none)"
        )


def _switched(model: nn.Module, origin: Origin) -> Origin:
    """The origin with the configuration as it is now: a solver may have turned biases on."""
    now = hugging_face(model)
    if now is None or origin.edits:
        return origin
    return origin.model_copy(update={"architecture": now})


def _recovered(points: list[dict[str, Any]], trained: Mapping[str, int]) -> list[dict[str, Any]]:
    """What each recovery cost and gained: seconds, trained parameters, validation before and after."""
    before = {point["round"]: point for point in points if point["moment"] == "pruned"}
    return [
        {
            "round": after["round"],
            "seconds": after["seconds"] - before[after["round"]]["seconds"],
            "parameters": trained.get(f"round-{after['round']}", 0),
            "before": before[after["round"]]["val"],
            "after": after["val"],
        }
        for after in points
        if after["moment"] == "recovered" and after["round"] in before
    ]


def _training_batches(data: Any, size: int, seed: int) -> Any:
    if data is None:
        raise PlanError("training was given but no data; pass data=(x, y) or a data loader")
    return lambda stage: as_batches(data, size, seed, stage, shuffle=True)


def _first_input(data: Any, model: nn.Module) -> Any:
    """One input of the data, on the model's device, to trace and count with."""
    if data is None:
        return None
    first = next(iter(as_batches(data, 2, 0, shuffle=False, device=device_of(model))))
    if isinstance(first, Mapping):
        return {name: value for name, value in first.items() if name != "labels"}
    return first[0][:1] if isinstance(first, tuple | list) else first


def score(
    model: nn.Module,
    criterion: str,
    *,
    data: Any = None,
    loss: Loss = cross_entropy,
    example: Any = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, Tensor]:
    """Scores of every prunable weight by a criterion's name: {target name: Tensor}, higher = keep.

    The model is exactly as before afterwards: parameters, buffers, gradients, mode.
    """
    model = plain_network(model)
    batches = as_batches(data, 128, seed, "scoring", shuffle=False, device=device_of(model))
    seen = example if example is not None else _first_input(data, model)
    return score_model(model, criterion, options, batches, loss, seen, seed)


def proxies(
    model: nn.Module, batch: Any, *, loss: Loss = cross_entropy, seed: int = 0
) -> dict[str, float]:
    """Zero-cost proxies of an untrained network: how well it may train, from one batch.

    `grad_norm`, `snip`, `grasp`, `synflow`, `fisher` and `jacob_cov` by name; `engine.proxies` has the
    formulas. They rank networks against each other and mean nothing alone: compare them on the same
    batch. The model is exactly as before afterwards.

    Args:
        model: the network.
        batch: a pair (x, y).
        loss: (model, batch) -> mean loss.
        seed: of random layers.

    Paper: Abdelfattah, Mehrotra, Dudziak, Lane 2021, arXiv 2101.08134. Its code takes `fisher` of the
    mean loss, n² times less, and leaves batch norms out of `synflow`; here they scale, as in method
    `synflow`.
    """
    return _proxies(plain_network(model), batch, loss, seed)
