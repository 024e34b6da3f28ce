"""`secateur methods`, `secateur card`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ..api import methods as all_methods
from ..core.errors import unknown
from ..methods.cards import by_family, card_text, markdown


def add(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("methods")(methods)
    app.command("card")(card)


def methods(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="the whole catalogue as Markdown (docs/methods.md)")
    ] = False,
) -> None:
    """List the methods that can be run by name, family by family."""
    if as_markdown:
        print(markdown(), end="")
        return
    table = Table(Column("method", no_wrap=True), "what it does", Column("paper", max_width=18))
    for family, members in by_family():
        table.add_section()
        table.add_row(f"[bold]{family}[/bold]")
        for method in members:
            paper = f"{method.authors} {method.year}" if method.paper else "–"
            table.add_row(method.name, method.summary, paper)
    Console().print(table)


def card(name: Annotated[str, typer.Argument(help="a method's name")]) -> None:
    """Show a method's card: what it does, its paper, its options."""
    catalogue = all_methods()
    if name not in catalogue:
        raise unknown("method", name, catalogue)
    print(card_text(catalogue[name]))
