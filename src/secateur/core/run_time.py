"""Pruning that is decided for every input while the network runs: what its answers and layers speak."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from .axes import Materialiser
from .component import from_dict
from .edits import Edits
from .errors import PlanError, StorageError
from .training import Draw
from .types import Masks, Target

if TYPE_CHECKING:
    from .recipe import Recipe

Place = Mapping[str, JsonValue]
"""Where one wrapper goes, as plain data: paths of modules in the network as it was, and the target's name."""


@dataclass(frozen=True)
class Work:
    """What one call of a layer took, by sample.

    Attributes:
        dense: multiply-accumulates of one sample where nothing is left out; deciding not among them.
        done: [n] those that were needed of each sample; deciding not among them.
        units: how many could be left out.
        used: [n] how many were not.
        deciding: what deciding took of one sample.
    """

    dense: float
    done: Tensor
    units: int
    used: Tensor
    deciding: float = 0.0


class RunTimeLayer(nn.Module):
    """Wraps a layer and decides for every input what to leave out; says so to who listens."""

    heard: list[Work] | None = None
    penalties: list[Tensor] | None = None
    holds: ClassVar[bool] = True
    """Whether wrappers inside it are part of it, so that it speaks for them."""

    def wrong(self) -> str:
        """What is wrong with its settings where they were read from a file; empty if nothing is."""
        return ""

    def tell(self, work: Work) -> None:
        """What the call at hand took."""
        if self.heard is not None:
            self.heard.append(work)

    def penalise(self, penalty: Tensor) -> None:
        """What the training is to add to its loss for the call at hand, a mean over samples."""
        if self.penalties is not None:
            self.penalties.append(penalty)


class RunTime(Materialiser):
    """Wraps layers so that what goes is decided for every input; no weight is masked or removed.

    The recipe's structure says what may go, its allocator and schedule how much of each target stays, for
    every input or on average. Learned parts and settings are parameters and buffers of the wrappers: so they
    are trained, kept in checkpoints and saved as any other.
    """

    learns: ClassVar[bool] = False
    """Whether the wrappers have parts to train, so that a training must be given."""
    calibrates: ClassVar[bool] = False
    """Whether how much stays is translated on data."""
    compared: ClassVar[str] = "tensor"
    """The scope of its recipes: `model` where all targets have one budget together."""

    @abstractmethod
    def places(
        self, model: nn.Module, targets: tuple[Target, ...], once: Callable[[], None] | None = None
    ) -> list[Place]:
        """One place for each target, by `target`; targets it cannot act on are refused.

        `once` runs the network on an example, for what only a run tells; None where there is none.
        """

    @abstractmethod
    def wrap(self, model: nn.Module, places: Sequence[Place], draw: Draw | None) -> None:
        """Put the wrappers into `model`; without `draw` learned parts stay unset (they are loaded)."""

    @abstractmethod
    def settle(
        self, model: nn.Module, places: Sequence[Place], keep: Mapping[str, int],
        batches: Iterable[Any] | None,
    ) -> None:  # fmt: skip
        """Let so many units of each target stay from here on; `batches` where it `calibrates`."""

    def apply(self, model: nn.Module, targets: tuple[Target, ...], masks: Masks) -> nn.Module:
        """The network with wrappers that let as many units of each target stay as the masks keep."""
        places = self.places(model, targets)
        self.wrap(model, places, lambda *words: torch.Generator().manual_seed(0))
        self.settle(model, places, {n: int(m.sum()) for n, m in masks.items()}, None)
        return model

    def edits(self, places: Sequence[Place]) -> Edits:
        """What `wrapped_again` does again, as plain data."""
        return Edits(run_time={"by": self.to_dict(), "places": [dict(p) for p in places]})


def wrapped_again(model: nn.Module, told: Mapping[str, JsonValue]) -> nn.Module:
    """Wrappers put into a stock network as `RunTime.edits` says; their values are loaded afterwards."""
    by, places = told.get("by"), told.get("places")
    made = from_dict(Materialiser, by)
    listed = isinstance(places, list) and all(isinstance(place, dict) for place in places)
    if not isinstance(made, RunTime) or not listed:
        raise StorageError("what is decided at run time is not described as this version writes it")
    try:
        made.wrap(model, places, None)  # type: ignore[arg-type]
    except (AttributeError, KeyError, TypeError, PlanError) as error:
        raise StorageError(
            f"the network has no such place to decide at run time: {error!s:.300}"
        ) from error
    return model


def put_around(model: nn.Module, path: str, made: nn.Module) -> None:
    """Put `made` where the module at `path` is, under every name that it goes by."""
    old = model.get_submodule(path)
    if old is model or isinstance(old, RunTimeLayer):
        raise PlanError(
            f"'{path}' is {'the whole network' if old is model else 'decided at run time already'}; "
            "only a layer within it can be wrapped, once"
        )
    for owner in list(model.modules()):
        for name in [name for name, child in owner._modules.items() if child is old]:
            setattr(owner, name, made)


def check_settings(model: nn.Module) -> None:
    """Refuse what no run would have left in the wrappers of a network that was read from a file."""
    for name, layer in run_time_layers(model).items():
        if wrong := layer.wrong():
            raise StorageError(f"'{name}', which decides at run time, {wrong}")


def run_time_layers(model: nn.Module) -> dict[str, RunTimeLayer]:
    """Path -> the wrappers of a network, without those that another one speaks for."""
    found: dict[str, RunTimeLayer] = {}
    for name, module in model.named_modules():
        within = any(m.holds and name.startswith(f"{n}.".lstrip(".")) for n, m in found.items())
        if isinstance(module, RunTimeLayer) and not within:
            found[name] = module
    return found


@contextmanager
def listening(model: nn.Module) -> Iterator[dict[str, list[Work]]]:
    """Inside, every call of a wrapper is written down: path -> one `Work` per call."""
    layers = run_time_layers(model)
    heard: dict[str, list[Work]] = {name: [] for name in layers}
    for name, layer in layers.items():
        layer.heard = heard[name]
    try:
        yield heard
    finally:
        for layer in layers.values():
            layer.heard = None


@contextmanager
def penalties(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, what the wrappers add to the loss is collected in the list."""
    layers = run_time_layers(model).values()
    collected: list[Tensor] = []
    for layer in layers:
        layer.penalties = collected
    try:
        yield collected
    finally:
        for layer in layers:
            layer.penalties = None


def check_run_time(recipe: Recipe) -> None:
    """What is chosen for every input leaves nothing to choose, mask or undo before."""
    made, criterion = recipe.materialise, recipe.criterion
    if not isinstance(made, RunTime):
        if criterion.at_run_time:
            raise PlanError(
                f"criterion '{criterion.name}' judges units for every input while the network runs, "
                "which nothing here does; name a `materialise` that does, e.g. channel-gates"
            )
        return
    if not criterion.at_run_time:
        raise PlanError(
            f"materialise '{made.name}' judges units for every input by itself; criterion "
            f"'{criterion.name}' would be ignored. Use criterion 'per-input'"
        )
    if (
        not recipe.allocator.by_sizes
        or recipe.allocator.weighs
        or recipe.scope.name != made.compared
    ):
        raise PlanError(
            f"materialise '{made.name}' has no scores before the network runs, nor one cost: how many "
            f"units of each layer stay must follow from sizes alone. Allocator '{recipe.allocator}' with "
            f"scope '{recipe.scope.name}' goes by more; use uniform, erk or given, with "
            f"scope '{made.compared}'"
        )
    for what in (word for word, given in _beside(recipe).items() if given):
        raise PlanError(
            f"materialise '{made.name}' takes nothing out and wraps layers instead; {what} cannot "
            "go with it"
        )


def _beside(recipe: Recipe) -> dict[str, bool]:
    """What would be ignored, or undone, where units are chosen for every input -> whether it is there."""
    plan = recipe.recovery.plan() if recipe.recovery is not None else None
    moved = plan is not None and (plan.weights != "keep" or plan.adapter is not None)
    return {
        f"walk '{recipe.walk}'": recipe.walk != "whole",
        f"schedule '{recipe.schedule.name}', which regrows,": recipe.schedule.regrows,
        f"schedule '{recipe.schedule.name}', which holds nothing out,": not recipe.schedule.holds,
        f"solver '{recipe.solver}'": recipe.solver is not None,
        f"gate '{recipe.gate}'": recipe.gate is not None,
        f"pressure '{recipe.pressure}'": recipe.pressure is not None,
        f"tuning '{recipe.tuning}'": recipe.tuning is not None,
        f"basis '{recipe.basis}'": recipe.basis is not None,
        f"precision '{recipe.precision}'": recipe.precision is not None,
        f"recovery '{recipe.recovery}', which changes or freezes weights,": moved,
        "`revive`": recipe.revive,
        "`connected`": recipe.connected,
        "`carried`": recipe.carried,
    }
