"""What the studies on the trained story model share: how much goes, which draws, where a table stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stories260k import OUT

SEEDS = (0, 2)
"""Draws of the model's own text, to calibrate on."""

AMOUNTS: dict[str, dict[str, Any]] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "2:4": {"pattern": "2:4"},
}

STOP = "<!-- end -->"


def put(page: str, tool: str, lines: Iterable[str]) -> None:
    """Put a table in its place on a page of the story model's results: behind the tool's mark."""
    start, path = f"<!-- made by tools/{tool} -->\n", OUT / page
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    _, stop, tail = rest.partition(STOP)
    if not found or not stop:
        raise SystemExit(f"{path} lacks the marks {start.strip()} … {STOP}")
    text = "\n".join(lines)
    path.write_text(f"{head}{start}{text}\n{STOP}{tail}", encoding="utf-8")
