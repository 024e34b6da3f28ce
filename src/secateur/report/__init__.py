"""Reports made from results alone: one HTML page, a PDF, Markdown tables, a terminal table."""

from __future__ import annotations

from .terminal import terminal_table
from .write import write

__all__ = ["terminal_table", "write"]
