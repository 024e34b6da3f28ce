"""Sensitivity: accuracy when one layer alone is pruned."""

from __future__ import annotations

from .. import notation as say
from ..analysed import Sensitivity
from ..blocks import Column, Figure, Row, Table
from ..svg.canvas import Canvas
from ..svg.heat import Cell, Heat
from ..words import Words
from . import both
from .layers import short


def sensitivity(analysis: Sensitivity, number: int, words: Words) -> Figure:
    """Layers against sparsities, as a heat map."""
    dense = analysis.dense
    note = "" if dense is None else words("figure.sensitivity.dense", accuracy=say.percent(dense))
    least, layer = min(zip(map(min, analysis.accuracy), analysis.layers, strict=True))
    return both(
        lambda width: _draw(analysis, width),
        f"sensitivity-{number}",
        analysis.title or words("figure.sensitivity"),
        words("figure.sensitivity.alt", layer=short(layer), accuracy=say.percent(least)),
        caption=words("figure.sensitivity.caption", dense=note),
        table=_table(analysis, f"sensitivity-{number}-data", words),
    )


def _heads(analysis: Sensitivity) -> list[str]:
    return [f"{100 * sparsity:.6g} %" for sparsity in analysis.sparsities]


def _draw(analysis: Sensitivity, width: float) -> Canvas:
    every = [value for row in analysis.accuracy for value in row]
    low, high = min(every), max([*every, analysis.dense or 0.0])
    span = (high - low) or 1.0
    cells = [
        [
            Cell(
                (value - low) / span, say.percent(value, 1), f"{short(layer)} · {head}: {value:.2%}"
            )
            for value, head in zip(row, _heads(analysis), strict=True)
        ]
        for layer, row in zip(analysis.layers, analysis.accuracy, strict=True)
    ]
    return Heat([short(layer) for layer in analysis.layers], _heads(analysis), cells).draw(width)


def _table(analysis: Sensitivity, id: str, words: Words) -> Table:
    columns = (
        Column(words("column.layer"), "left"),
        *(Column(head) for head in _heads(analysis)),
    )
    rows = tuple(
        Row((short(layer), *(say.percent(value) for value in row)))
        for layer, row in zip(analysis.layers, analysis.accuracy, strict=True)
    )
    return Table(id, words("figure.data"), columns, rows)
