"""Mask overlap: a matrix, the overlap below the diagonal and chance above it."""

from __future__ import annotations

from .. import notation as say
from ..analysed import OverlapMatrix
from ..blocks import Column, Figure, Row, Table
from ..svg.canvas import Canvas
from ..svg.heat import Cell, Heat
from ..words import Words
from . import both


def overlap(analysis: OverlapMatrix, number: int, words: Words) -> Figure:
    """The matrix as a heat map."""
    near = analysis.sparsity
    where = "" if near is None else words("figure.overlap.sparsity", sparsity=say.sparsity(near))
    return both(
        lambda width: _draw(analysis, width),
        f"overlap-{number}",
        analysis.title or words("figure.overlap"),
        words("figure.overlap.alt", n=len(analysis.labels)),
        caption=words("figure.overlap.caption", sparsity=where),
        table=_table(analysis, f"overlap-{number}-data", words),
    )


def _draw(analysis: OverlapMatrix, width: float) -> Canvas:
    count = range(len(analysis.labels))
    rows = [f"{label}\N{EM SPACE}{i + 1}" for i, label in enumerate(analysis.labels)]
    cells = [[_cell(analysis, row, column) for column in count] for row in count]
    heads = [str(i + 1) for i in count]
    return Heat(rows, heads, cells, lambda row, column: column > row).draw(width, 22)


def _cell(analysis: OverlapMatrix, row: int, column: int) -> Cell:
    matrix = analysis.chance if column > row else analysis.jaccard
    share = matrix[row][column]
    tip = f"{analysis.labels[row]} – {analysis.labels[column]}: {say.percent(share, 1)} %"
    return Cell(share, say.percent(share, 0), tip)


def _table(analysis: OverlapMatrix, id: str, words: Words) -> Table:
    columns = (Column("", "left"), *(Column(str(i + 1)) for i in range(len(analysis.labels))))
    rows = tuple(
        Row((f"{i + 1} {label}", *(_pair(analysis, i, j) for j in range(len(analysis.labels)))))
        for i, label in enumerate(analysis.labels)
    )
    return Table(id, words("figure.data"), columns, rows)


def _pair(analysis: OverlapMatrix, row: int, column: int) -> str:
    matrix = analysis.chance if column > row else analysis.jaccard
    return say.percent(matrix[row][column], 1)
