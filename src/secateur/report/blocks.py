"""What a report is made of: plain values that each format writes in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A column; numbers are set right, words left."""

    title: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Row:
    """Cells, and where their numbers come from.

    Attributes:
        cells: as they are written.
        runs: `digest/seed` of every run the numbers are computed from.
        slot: colour and marker of the row's method, or None.
        mark: the cell that shows them.
    """

    cells: tuple[str, ...]
    runs: tuple[str, ...] = ()
    slot: int | None = None
    mark: int = 0


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure drawn for a page and for a phone.

    Attributes:
        wide, narrow: SVG.
        alt: the figure in words.
        legend: (slot, label) of what it shows.
        table: its numbers.
    """

    id: str
    title: str
    caption: str
    alt: str
    wide: str
    narrow: str
    legend: tuple[tuple[int, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: tuple[tuple[str, str], ...]


Block = Table | Figure | Facts


@dataclass(frozen=True)
class Section:
    """A titled part of the report."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Card:
    """One number that matters, and what it is."""

    value: str
    name: str


@dataclass(frozen=True)
class Document:
    """The whole report, before it is written in any format."""

    lang: str
    title: str
    kicker: str
    subtitle: str
    lead: str
    cards: tuple[Card, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    missing: tuple[str, ...]
    configs: tuple[tuple[str, str], ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    def tables(self) -> list[Table]:
        """Every table of its own, in order."""
        return [b for s in self.sections for b in s.blocks if isinstance(b, Table)]

    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        return [b for s in self.sections for b in s.blocks if isinstance(b, Figure)]
