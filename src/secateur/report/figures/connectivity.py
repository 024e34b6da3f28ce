"""Linear mode connectivity: loss and accuracy on the line between two runs."""

from __future__ import annotations

from collections.abc import Sequence

from ...experiments.statistics import barrier
from .. import notation as say
from ..analysed import Connectivity, LinePath
from ..blocks import Block, Column, Figure, Row, Table
from ..svg.canvas import Canvas
from ..svg.plot import Axis, Frame, Plot
from ..svg.scale import Linear, nice_ticks
from ..words import Words
from . import both


def connectivity(analysis: Connectivity, number: int, words: Words) -> list[Block]:
    """The figure with both panels, and the table of barriers."""
    id = f"connectivity-{number}"
    said = " ".join(
        words("figure.connectivity.alt.series", label=c.label, barrier=_barrier(analysis, c))
        for c in analysis.curves
    )
    figure: Figure = both(
        lambda width: _draw(analysis, words, width),
        id,
        analysis.title or words("figure.connectivity"),
        words("figure.connectivity.alt", series=said),
        caption=words("figure.connectivity.caption"),
        legend=tuple((slot, curve.label) for slot, curve in enumerate(analysis.curves)),
        table=_values(analysis, f"{id}-data", words),
    )
    return [figure, _table(analysis, f"{id}-table", words)]


def _barrier(analysis: Connectivity, curve: LinePath) -> str:
    return say.three(barrier(analysis.alphas, curve.loss))


def _draw(analysis: Connectivity, words: Words, width: float) -> Canvas:
    """Side by side on a page, one above the other on a phone."""
    beside = width > 500
    height = 250.0
    canvas = Canvas(width, height if beside else 2 * height)
    half = width / 2 if beside else width
    frames = [
        Frame(44.0, 26.0, half - 12, height - 42),
        Frame(half + 44, 26.0, width - 12, height - 42)
        if beside
        else Frame(44.0, height + 26, width - 12, 2 * height - 42),
    ]
    accuracies = [[100 * value for value in curve.accuracy] for curve in analysis.curves]
    _panel(
        canvas, frames[0], analysis, [c.loss for c in analysis.curves], words("axis.loss"), words
    )
    _panel(canvas, frames[1], analysis, accuracies, words("axis.accuracy_plain"), words)
    return canvas


def _panel(
    canvas: Canvas,
    frame: Frame,
    analysis: Connectivity,
    lines: Sequence[Sequence[float]],
    title: str,
    words: Words,
) -> None:
    every = [value for line in lines for value in line]
    margin = 0.08 * (max(every) - min(every)) or 0.5
    low, high = min(every) - margin, max(every) + margin
    x = Axis(
        Linear(0, 1, frame.left, frame.right),
        [(t, f"{t:g}") for t in (0, 0.5, 1)],
        words("axis.alpha"),
    )
    ticks = [(tick, f"{tick:g}") for tick in nice_ticks(low, high, 5)]
    plot = Plot(canvas, frame, x, Axis(Linear(low, high, frame.bottom, frame.top), ticks, title))
    for slot, line in enumerate(lines):
        points = list(zip(analysis.alphas, line, strict=True))
        plot.line(points, slot)
        for alpha, value in points:
            tip = f"{analysis.curves[slot].label} · α {alpha:g}: {say.three(value)}"
            canvas.marker(x.scale(alpha), plot.y.scale(value), slot, tip, 0.7)


def _values(analysis: Connectivity, id: str, words: Words) -> Table:
    heads = (
        f"{curve.label}: {words(name)}"
        for curve in analysis.curves
        for name in ("axis.loss", "axis.accuracy_plain")
    )
    rows = tuple(
        Row((f"{alpha:g}", *(text for c in analysis.curves for text in _at(c, i))))
        for i, alpha in enumerate(analysis.alphas)
    )
    return Table(id, words("figure.data"), (Column("α"), *(Column(h) for h in heads)), rows)


def _at(curve: LinePath, index: int) -> tuple[str, str]:
    return say.signed(curve.loss[index], 3), say.percent(curve.accuracy[index])


def _table(analysis: Connectivity, id: str, words: Words) -> Table:
    columns = (
        Column(words("column.curve"), "left"),
        Column(words("column.ends")),
        Column(words("column.barrier")),
    )
    rows = tuple(
        Row((c.label, f"{c.loss[0]:.3f}, {c.loss[-1]:.3f}", _barrier(analysis, c)), (), slot)
        for slot, c in enumerate(analysis.curves)
    )
    caption = words("table.connectivity.caption")
    return Table(id, words("table.connectivity"), columns, rows, caption)
