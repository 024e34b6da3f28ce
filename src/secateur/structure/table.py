"""Coupled structures as a table: structures that differ in one number of their names share a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

HEAD = ("name", "kind", "units", "members", "params/unit", "MACs/unit", "on", "removal")
NUMBERS = range(2, 6)
"""Columns that are set flush right."""


@dataclass(frozen=True)
class Row:
    """A structure, or several alike.

    Attributes:
        name: of the structure; `{0-3}` in it stands for each of the numbers.
        cells: what stands between name and removal.
        removal: `exact` or `not exact`.
        note: why, or when; told below the table.
        details: lines under the row.
    """

    name: str
    cells: tuple[str, ...]
    removal: str
    note: str = ""
    details: tuple[str, ...] = field(default=(), compare=False)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of a table, then its notes."""
    notes = {note: at for at, note in enumerate(dict.fromkeys(r.note for r in rows if r.note), 1)}
    lines = [HEAD, *((r.name, *r.cells, r.removal + _mark(notes.get(r.note))) for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line, row in zip(lines, [None, *rows], strict=True):
        cells = [
            cell.rjust(width) if i in NUMBERS else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
        if row is not None:
            yield from row.details
    for note, at in notes.items():
        yield f"[{at}] {note}"


def together(rows: Iterable[Row]) -> list[Row]:
    """Rows that differ in one number of their names become one, where the first of them stood.

    >>> rows = [Row(f"layers.{i}.up", ("neurons", "8"), "exact") for i in (0, 1, 2, 5)]
    >>> [row.name for row in together(rows)]
    ['layers.{0-2,5}.up']
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        shape = re.sub(r"\d+", "#", row.name)
        groups.setdefault((shape, row.cells, row.removal, row.note), []).append(row)
    return [made for group in groups.values() for made in _one(group)]


def _one(group: list[Row]) -> list[Row]:
    """A row for a group of one form, where a single number tells its members apart."""
    numbers = [tuple(re.findall(r"\d+", row.name)) for row in group]
    varying = [i for i, each in enumerate(zip(*numbers, strict=True)) if len(set(each)) > 1]
    if len(varying) != 1:
        return group
    first, (place,) = group[0], varying
    found = list(re.finditer(r"\d+", first.name))[place]
    ran = _ranges(sorted(int(each[place]) for each in numbers))
    name = f"{first.name[: found.start()]}{{{ran}}}{first.name[found.end() :]}"
    return [Row(name, first.cells, first.removal, first.note, first.details)]


def _ranges(numbers: list[int]) -> str:
    """0, 1, 2, 5 as `0-2,5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _mark(number: int | None) -> str:
    return f" [{number}]" if number else ""
