"""The main table for a terminal."""

from __future__ import annotations

import textwrap
from pathlib import Path

from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from ..experiments.language.results import is_language_study
from . import language
from .blocks import Column, Table
from .notices import notices
from .study import open_study
from .tables import main_table
from .words import Words

SKIPPED = ("density", "seeds", "macs", "dense_mb")
"""Columns of the main table that a terminal has no room for."""


def terminal_table(root: str | Path, *, lang: str = "en", experiment: str | None = None) -> Group:
    """The main table and the warnings, for `rich.print` or `Console().print`.

    Args:
        root: results folder.
        lang: `en` or `ko`.
        experiment: the study, where the folder holds several.
    """
    words = Words(lang)
    if is_language_study(root):
        table = language.main_table(language.open_rows(root), words, intervals=False)
        return Group(_rich(table, {words("lm.column.note")}), *_notes(table))
    study = open_study(root, experiment)
    left_out = {words(f"column.{name}") for name in SKIPPED}
    marks = [Text(f"! {text}", style="yellow") for text in notices(study, words)]
    return Group(_rich(main_table(study, words), left_out), *marks)


def _rich(table: Table, left_out: set[str]) -> RichTable:
    kept = [i for i, column in enumerate(table.columns) if column.title not in left_out]
    rich = RichTable(title=table.title, title_justify="left", header_style="bold", box=None)
    for i in kept:
        _add_column(rich, table.columns[i])
    for row in table.rows:
        rich.add_row(*(Text(row.cells[i]) for i in kept))
    return rich


def _notes(table: Table) -> list[Text]:
    """The last cell of every row that says something, behind the first: numbers leave it no room."""
    return [Text(f" {row.cells[0]}: {row.cells[-1]}") for row in table.rows if row.cells[-1]]


def _add_column(rich: RichTable, column: Column) -> None:
    """Words may wrap, numbers not."""
    head = Text("\n".join(textwrap.wrap(column.title, 11)))
    number = column.align == "right"
    rich.add_column(
        head, justify=column.align, no_wrap=number, overflow="fold", min_width=0 if number else 12
    )
