"""Ticket transfer: a table."""

from __future__ import annotations

from ...experiments.statistics import Summary
from .. import notation as say
from ..analysed import Transfer
from ..blocks import Column, Row, Table
from ..words import Words

KNOWN = ("ticket", "random", "dense")


def transfer(analysis: Transfer, number: int, words: Words) -> Table:
    """One row per kind of ticket."""
    columns = (
        *(Column(words(f"column.{name}"), "left") for name in ("ticket", "from", "to")),
        Column(words("column.top1_ci")),
        Column(words("column.seeds")),
    )
    near = analysis.sparsity
    where = "" if near is None else words("table.transfer.sparsity", sparsity=say.sparsity(near))
    rows = []
    for row in analysis.rows:
        name = words(f"ticket.{row.ticket}") if row.ticket in KNOWN else row.ticket
        summary = Summary(row.accuracies)
        cells = (name, row.source, row.to, say.accuracy(summary), str(summary.n))
        rows.append(Row(cells))
    caption = words("table.transfer.caption", sparsity=where)
    title = analysis.title or words("table.transfer")
    return Table(f"transfer-{number}", title, columns, tuple(rows), caption)
