"""What layers multiply is set to zero where it is small; how small is read off a calibrated curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ..core.component import register
from ..core.errors import DataError, PlanError
from ..core.labelled import call, keywords
from ..core.padding import valid_of, valid_only
from ..core.run_time import Place, RunTime, put_around
from ..core.training import Draw
from ..core.types import Target
from ..dynamic import Cut, ThresholdedAttention, ThresholdedLinear, set_sparsity
from ..dynamic.cut import Watch, calibrate, cuts_of


@register("activation-thresholds")
class ActivationThresholds(RunTime):
    """x is zero where |x| < τ, one τ for all layers, at which the wanted share of all values is zero.

    Linear layers' inputs and attention's queries, keys, probabilities and values (`dynamic.cut` has the
    curve). Padding, and probabilities that a mask makes zero, are not counted in it.

    Attributes:
        points: of the curve; calibration runs all of its data once more often than that.

    Paper: Tuli, Jha 2023, arXiv 2302.14705.
    """

    calibrates: ClassVar[bool] = True
    compared: ClassVar[str] = "model"

    points: int = Field(default=20, ge=2, le=1000)

    def places(
        self, model: nn.Module, targets: tuple[Target, ...], once: Callable[[], None] | None = None
    ) -> list[Place]:
        """The layer, and whether its inputs or its attention."""
        return [_place(model, target) for target in targets]

    def wrap(self, model: nn.Module, places: Sequence[Place], draw: Draw | None) -> None:
        """Linear layers first: attention goes around those inside it."""
        for place in sorted(places, key=lambda p: p["kind"] == "attention"):
            layer = str(place["layer"])
            inner = model.get_submodule(layer)
            around: nn.Module
            if place["kind"] == "attention":
                around = ThresholdedAttention(inner, self.points)
            else:
                around = ThresholdedLinear(inner, _outputs(inner, layer), self.points)
            put_around(model, layer, around)

    def settle(
        self, model: nn.Module, places: Sequence[Place], keep: Mapping[str, int],
        batches: Iterable[Any] | None,
    ) -> None:  # fmt: skip
        """Measure the curve and aim at the share that does not stay."""
        if batches is None:
            raise DataError(
                f"materialise '{self.name}' finds its threshold on data; give some, labels are not read"
            )
        cuts = cuts_of(model)
        calibrate(cuts, lambda watch: run_watched(model, cuts, batches, watch), self.points)
        units = sum(_units(place) for place in places)
        set_sparsity(model, 1 - sum(keep.values()) / units)


def _place(model: nn.Module, target: Target) -> Place:
    if target.kind not in ("inputs", "attention"):
        raise PlanError(
            f"'{target.name}' ({target.kind}) is nothing that a layer reads; thresholds at run time need "
            "structure 'inputs'"
        )
    model.get_submodule(target.layer)
    return {
        "target": target.name,
        "layer": target.layer,
        "kind": target.kind,
        "units": target.units,
    }


def _units(place: Place) -> int:
    units = place["units"]
    assert isinstance(units, int)
    return units


def _outputs(inner: nn.Module, layer: str) -> int:
    outputs = inner.out_features if isinstance(inner, nn.Linear) else getattr(inner, "nf", None)
    if not isinstance(outputs, int):
        raise PlanError(f"'{layer}' is a {type(inner).__name__}, no linear layer to wrap")
    return outputs


def run_watched(model: nn.Module, cuts: list[Cut], batches: Iterable[Any], watch: Watch) -> None:
    """Run all data; `watch` is told which values are real."""
    ran = False
    for batch in batches:
        ran, valid = True, valid_of(batch)
        valid = None if valid is None or bool(valid.all()) else valid
        for cut in cuts:
            cut.watch = watch if valid is None else _real(watch, valid)
        try:
            inner = batch[0] if isinstance(batch, tuple | list) else batch
            call(model, keywords(inner) if isinstance(inner, Mapping) else inner)
        finally:
            for cut in cuts:
                cut.watch = None
    if not ran:
        raise DataError("no data to find a threshold on; give at least one batch")


def _real(watch: Watch, valid: Tensor) -> Watch:
    """The watch without what is padding: tokens that do not count, in rows of what is left."""

    def told(cut: Cut, x: Tensor, y: Tensor, there: Tensor | None) -> None:
        def rows(t: Tensor) -> Tensor:
            return valid_only(t.movedim(cut.tokens, 1) if t.dim() > 2 else t, valid, "a cut")

        seen = None if there is None else rows(there.expand_as(x))
        watch(cut, rows(x), rows(y), seen)

    return told
