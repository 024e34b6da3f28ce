"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.extras import need
from . import fonts, style
from .blocks import Document, Facts, Figure, Table
from .svg.canvas import Canvas

if TYPE_CHECKING:
    from jinja2 import Environment

MARK = "secateur report"
"""Stands in every file the report writes, so that nothing else is ever overwritten."""


def page(document: Document, *, paper: bool = False, faces: str = "") -> str:
    """The page; with `paper` as a PDF needs it: wide figures only, nothing folded away.

    Args:
        document: what to show.
        paper: for print.
        faces: `@font-face` rules to begin the style sheet with.
    """
    template = _environment().get_template("report.html.j2")
    return template.render(
        document=document, paper=paper, faces=faces, mark=MARK, style=style, swatch=swatch
    )


def web(document: Document) -> str:
    """The page for a browser; in Korean with its letters in it, where a font is found here."""
    font = fonts.find() if document.lang == "ko" else None
    plain = page(document)
    return plain if font is None else page(document, faces=font.embedded(plain))


@cache
def _environment() -> Environment:
    jinja2 = need("jinja2", "a report")
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    environment.tests["facts"] = lambda block: isinstance(block, Facts)
    return environment


@cache
def swatch(slot: int) -> str:
    """A small sample of a slot's line and marker, for legends and tables."""
    canvas = Canvas(24, 12)
    canvas.line(0, 6, 24, 6, f"s{slot}", stroke_width=1.8, stroke_dasharray=style.dash(slot))
    canvas.marker(12, 6, slot, scale=0.9)
    return canvas.bare()
