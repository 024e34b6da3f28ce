"""Heat maps: a grid of coloured cells with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .. import style
from .canvas import Canvas, shorten, text_width
from .scale import spread


@dataclass(frozen=True)
class Cell:
    """What a cell shows: a place on the colour ramp in [0, 1], a number, a tooltip."""

    shade: float | None
    text: str
    tip: str = ""


@dataclass(frozen=True)
class Heat:
    """Rows and columns of cells.

    Attributes:
        rows: labels.
        columns: labels; a whole number is the marker of that slot.
        cells: row by row.
        faint: whether cell (row, column) is drawn in an outlined, lighter way.
    """

    rows: Sequence[str]
    columns: Sequence[str | int]
    cells: Sequence[Sequence[Cell]]
    faint: Callable[[int, int], bool] = lambda row, column: False

    def draw(
        self, width: float, row_height: float = 20, most: float = 116, size: float = 10
    ) -> Canvas:
        """A canvas of this width; cells are at most `most` wide."""
        gutter = min(max(text_width(row, size) for row in self.rows) + 10, width * 0.34)
        cell = min((width - gutter) / len(self.columns), most)
        canvas = Canvas(width, 26 + row_height * len(self.rows))
        self._heads(canvas, gutter, cell, size)
        told = self._fits(cell, size)
        for number, row in enumerate(self.rows):
            y = 24 + row_height * number
            label = shorten(row, gutter - 8, size)
            canvas.text(
                gutter - 7, y + row_height / 2 + 3.5, label, "ink", anchor="end", font_size=size
            )
            for column, value in enumerate(self.cells[number]):
                place = (gutter + cell * column, y, cell - 1, row_height - 1)
                _draw(canvas, value, place, size, told, self.faint(number, column))
        return canvas

    def _fits(self, cell: float, size: float) -> bool:
        """Whether the numbers fit their cells: all are written, or none."""
        widest = max(text_width(value.text, size) for row in self.cells for value in row)
        return widest <= cell - 3

    def _heads(self, canvas: Canvas, gutter: float, cell: float, size: float) -> None:
        """Markers, or as many labels as there is room for."""
        places = [gutter + cell * (number + 0.5) for number in range(len(self.columns))]
        widest = max(text_width(str(head), size) for head in self.columns)
        kept = spread(places, widest + 3)
        for number, (x, head) in enumerate(zip(places, self.columns, strict=True)):
            if isinstance(head, int):
                canvas.marker(x, 12.0, head)
            elif number in kept:
                canvas.text(x, 16.0, head, "muted", anchor="middle", font_size=size)


def _draw(
    canvas: Canvas,
    cell: Cell,
    place: tuple[float, float, float, float],
    size: float,
    told: bool,
    faint: bool,
) -> None:
    x, y, width, height = place
    title = f"<title>{escape(cell.tip)}</title>" if cell.tip else ""
    shade = 0.0 if cell.shade is None else cell.shade
    more = {"opacity": 0.55} if faint else {}
    canvas.add(
        "rect",
        "",
        title,
        x=x,
        y=y,
        width=width,
        height=height,
        rx=1.5,
        fill=style.ramp(shade),
        **more,
    )
    if cell.shade is None:
        canvas.cross(x + width / 2, y + height / 2, "lost", cell.tip, size=3.2)
    elif told:
        canvas.add(
            "text", "", escape(cell.text), x=x + width / 2, y=y + height / 2 + 3.5,
            fill=style.INK if faint else style.on_ramp(shade), text_anchor="middle", font_size=size,
        )  # fmt: skip
