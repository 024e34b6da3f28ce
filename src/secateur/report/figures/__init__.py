"""Figures, each drawn twice: for a page and for a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..blocks import Figure
from ..svg.canvas import Canvas

WIDE, NARROW = 760.0, 350.0


def both(draw: Callable[[float], Canvas], id: str, title: str, alt: str, **more: Any) -> Figure:
    """A figure from a function that draws it at a given width."""
    wide = draw(WIDE).svg(f"{id}-wide", title, alt)
    narrow = draw(NARROW).svg(f"{id}-narrow", title, alt)
    return Figure(id=id, title=title, alt=alt, wide=wide, narrow=narrow, **more)
