"""The forms in which analyses are written, one class for each kind."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from ..core.errors import StorageError, unknown
from ..experiments.results import Analysis, Results, Value, build

Share = Annotated[float, Field(ge=0, le=1)]
V = TypeVar("V", bound="Analysed")


class Analysed(Value):
    """Base of the forms; `title` overrides the figure's own."""

    title: str = ""


class LinePath(Value):
    """One pair of runs: loss and accuracy along the line between them."""

    label: str
    loss: tuple[float, ...]
    accuracy: tuple[Share, ...]


class Connectivity(Analysed):
    """Loss and accuracy at each α, for one pair of runs or several."""

    kind: Literal["connectivity"]
    alphas: tuple[float, ...] = Field(min_length=2)
    curves: tuple[LinePath, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_length(self) -> Connectivity:
        for curve in self.curves:
            if not len(curve.loss) == len(curve.accuracy) == len(self.alphas):
                raise ValueError(f"curve '{curve.label}' has not one value per alpha")
        return self


class Sensitivity(Analysed):
    """Accuracy with one layer pruned: rows are layers, columns sparsities."""

    kind: Literal["sensitivity"]
    layers: tuple[str, ...] = Field(min_length=1)
    sparsities: tuple[Share, ...] = Field(min_length=1)
    accuracy: tuple[tuple[Share, ...], ...]
    dense: Share | None = None

    @model_validator(mode="after")
    def _grid(self) -> Sensitivity:
        _check_grid(self.accuracy, len(self.layers), len(self.sparsities))
        return self


class OverlapMatrix(Analysed):
    """Jaccard overlap of every pair of masks, and of independent masks of equal layer densities."""

    kind: Literal["overlap"]
    labels: tuple[str, ...] = Field(min_length=2)
    jaccard: tuple[tuple[Share, ...], ...]
    chance: tuple[tuple[Share, ...], ...]
    sparsity: Share | None = None

    @model_validator(mode="after")
    def _square(self) -> OverlapMatrix:
        for matrix in (self.jaccard, self.chance):
            _check_grid(matrix, len(self.labels), len(self.labels))
        return self


class CollapsePoint(Value):
    """One network pruned to one sparsity: density of each layer, and which collapsed."""

    sparsity: Share
    layers: dict[str, Share] = Field(min_length=1)
    collapsed: tuple[str, ...] = ()


class CollapseMethod(Value):
    """One method on one network, at several sparsities."""

    label: str
    network: str = ""
    points: tuple[CollapsePoint, ...] = Field(min_length=1)


class Collapse(Analysed):
    """Where each method cuts layers off."""

    kind: Literal["collapse"]
    methods: tuple[CollapseMethod, ...] = Field(min_length=1)


class TransferRow(Value):
    """A ticket on another data set; accuracies of all seeds, or one."""

    ticket: str
    source: str = Field(alias="from")
    to: str
    accuracy: tuple[Share, ...] | Share

    @property
    def accuracies(self) -> tuple[float, ...]:
        """One accuracy per seed."""
        return self.accuracy if isinstance(self.accuracy, tuple) else (self.accuracy,)


class Transfer(Analysed):
    """Tickets found on one data set and trained on another."""

    kind: Literal["transfer"]
    rows: tuple[TransferRow, ...] = Field(min_length=1)
    sparsity: Share | None = None


KINDS: dict[str, type[Analysed]] = {
    "collapse": Collapse,
    "overlap": OverlapMatrix,
    "sensitivity": Sensitivity,
    "connectivity": Connectivity,
    "transfer": Transfer,
}


def of_kind(results: Results, form: type[V]) -> list[V]:
    """Every analysis of one form, checked."""
    return [one for one in map(_read, results.analyses) if isinstance(one, form)]


def _read(analysis: Analysis) -> Analysed:
    if analysis.kind not in KINDS:
        raise StorageError(
            f"'{analysis.path}': {unknown('kind of analysis', analysis.kind, KINDS)}; move it away"
        )
    return build(KINDS[analysis.kind], analysis.plain, analysis.path)


def _check_grid(grid: tuple[tuple[float, ...], ...], rows: int, columns: int) -> None:
    if len(grid) != rows or any(len(row) != columns for row in grid):
        raise ValueError(f"the matrix is not {rows} × {columns}")
