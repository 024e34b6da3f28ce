"""Density of each layer under each method: a heat map."""

from __future__ import annotations

import math

from ...experiments.statistics import CurvePoint
from .. import notation as say
from ..blocks import Column, Figure, Row, Table
from ..study import Series, Study
from ..svg.canvas import Canvas
from ..svg.heat import Cell, Heat
from ..words import Words
from . import both

Chosen = list[tuple[Series, CurvePoint]]


def layers(study: Study, words: Words) -> Figure | None:
    """The heat map, or None where no pruned network tells its layers' densities."""
    chosen, sparsity = _chosen(study)
    if not chosen:
        return None
    names = list(dict.fromkeys(n for _, point in chosen for n in _densities(point)))
    table = _table(chosen, names, words)
    return both(
        lambda width: _draw(chosen, names, width),
        "layers",
        words("figure.layers"),
        words("figure.layers.alt"),
        caption=words("figure.layers.caption", sparsity=say.sparsity(sparsity)),
        legend=tuple((series.slot, _head(series, point)) for series, point in chosen),
        table=table,
    )


def _chosen(study: Study) -> tuple[Chosen, float]:
    """Per series the point nearest to the largest sparsity that all of them reach."""
    told = [s for s in study.series if any(_densities(point) for point in s.sparse)]
    if not told:
        return [], 0.0
    sparsity = min(max(point.sparsity.mean for point in s.sparse) for s in told)
    return [
        (s, min(s.sparse, key=lambda p: abs(p.sparsity.mean - sparsity))) for s in told
    ], sparsity


def _densities(point: CurvePoint) -> dict[str, float]:
    """Layer -> mean density over seeds."""
    seeds = list(point.points.values())
    return {
        name: sum(seed.layers.get(name, 0.0) for seed in seeds) / len(seeds)
        for name in seeds[0].layers
    }


def _head(series: Series, point: CurvePoint) -> str:
    return f"{series.label} ({say.sparsity(point.sparsity.mean)} %)"


def short(name: str) -> str:
    """A parameter's layer: `layer1.0.conv1.weight` -> `layer1.0.conv1`."""
    return name.removesuffix(".weight")


def _draw(chosen: Chosen, names: list[str], width: float) -> Canvas:
    columns = [_densities(point) for _, point in chosen]
    least = min((d for column in columns for d in column.values() if d > 0), default=0.1)
    cells = [
        [
            _cell(column.get(name), least, f"{series.label} · {short(name)}")
            for (series, _), column in zip(chosen, columns, strict=True)
        ]
        for name in names
    ]
    heads: list[str | int] = [series.slot for series, _ in chosen]
    return Heat([short(name) for name in names], heads, cells).draw(width)


def _cell(density: float | None, least: float, tip: str) -> Cell:
    if density is None:
        return Cell(0.0, say.NONE, tip)
    text = say.density(density)
    if density == 0:
        return Cell(None, text, f"{tip}: 0 %")
    spread = math.log(least) if least < 1 else -1.0
    return Cell(1 - math.log(density) / spread, text, f"{tip}: {text} %")


def _table(chosen: Chosen, names: list[str], words: Words) -> Table:
    heads = (Column(_head(series, point)) for series, point in chosen)
    columns = (Column(words("column.layer"), "left"), *heads)
    densities = [_densities(point) for _, point in chosen]
    runs = tuple(dict.fromkeys(name for _, point in chosen for name in point.names))
    rows = tuple(
        Row((short(n), *(say.density(d[n]) if n in d else say.NONE for d in densities)), runs)
        for n in names
    )
    return Table("layers-data", words("figure.data"), columns, rows)
