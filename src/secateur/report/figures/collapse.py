"""Layer collapse: densities per layer at an extreme sparsity, and where each method collapses."""

from __future__ import annotations

from collections.abc import Sequence

from .. import notation as say
from ..analysed import Collapse, CollapseMethod, CollapsePoint
from ..blocks import Block, Column, Figure, Row, Table
from ..style import Palette
from ..svg.canvas import Canvas
from ..svg.plot import Axis, Frame, Plot
from ..svg.scale import Linear, Log, spread
from ..words import Words
from . import both
from .layers import short

Drawn = list[tuple[int, str, CollapsePoint]]


def collapse(analysis: Collapse, number: int, palette: Palette, words: Words) -> list[Block]:
    """A figure for each network, then one table of collapse points."""
    networks = dict.fromkeys(method.network for method in analysis.methods)
    figures: list[Block] = [
        _figure([m for m in analysis.methods if m.network == name], f"collapse-{number}-{i}",
                analysis.title, palette, words)
        for i, name in enumerate(networks)
    ]  # fmt: skip
    return [*figures, _table(analysis, f"collapse-{number}-table", palette, words)]


def _figure(
    methods: Sequence[CollapseMethod], id: str, title: str, palette: Palette, words: Words
) -> Figure:
    sparsity = min(max(point.sparsity for point in method.points) for method in methods)
    drawn = [
        (palette.slot(m.label), m.label, min(m.points, key=lambda p: abs(p.sparsity - sparsity)))
        for m in methods
    ]
    own = words("figure.collapse", sparsity=say.sparsity(sparsity), network=methods[0].network)
    return both(
        lambda width: _draw(drawn, words, width),
        id,
        title or own.rstrip(": "),
        words(
            "figure.collapse.alt", series=" ".join(_said(label, p, words) for _, label, p in drawn)
        ),
        caption=words("figure.collapse.caption"),
        legend=tuple((slot, label) for slot, label, _ in drawn),
        table=_values(drawn, id, words),
    )


def _said(label: str, point: CollapsePoint, words: Words) -> str:
    least = say.density(min(point.layers.values()))
    return words("figure.collapse.alt.series", label=label, n=len(point.collapsed), least=least)


def _draw(drawn: Drawn, words: Words, width: float) -> Canvas:
    canvas = Canvas(width, 340 if width > 500 else 290)
    frame = Frame(46.0, 26.0, width - 12, canvas.height - 42)
    plot = Plot(canvas, frame, _x(drawn, frame, words), _y(drawn, frame, words))
    for number, one in enumerate(drawn):
        _draw_method(plot, *one, shift=7 * (number - (len(drawn) - 1) / 2))
    return canvas


def _x(drawn: Drawn, frame: Frame, words: Words) -> Axis:
    count = max(len(point.layers) for _, _, point in drawn)
    scale = Linear(0.5, count + 0.5, frame.left, frame.right)
    numbers = [1, count, *range(5, count, 5), *range(2, count)]
    kept = [numbers[i] for i in spread([scale(n) for n in numbers], 22)]
    return Axis(scale, [(n, str(n)) for n in kept], words("axis.layer"))


def _y(drawn: Drawn, frame: Frame, words: Words) -> Axis:
    """Whole decades, from the least density above zero."""
    least = min((d for _, _, p in drawn for d in p.layers.values() if d > 0), default=0.1)
    low = 1.0
    while low > least and low > 1e-8:
        low = round(low / 10, 10)
    scale = Log(min(low, 0.1), 1.0, frame.bottom - 14, frame.top)
    decades = [10.0**-power for power in range(9) if 10.0**-power >= min(low, 0.1) * 0.999]
    return Axis(scale, [(d, f"{100 * d:.6g}") for d in decades], words("axis.layer_density"))


def _draw_method(plot: Plot, slot: int, label: str, point: CollapsePoint, shift: float) -> None:
    layers = list(point.layers.items())
    run: list[tuple[float, float]] = []
    for number, (_, density) in enumerate(layers, 1):
        if density > 0:
            run.append((number, density))
        else:
            plot.line(run, slot)
            run = []
    plot.line(run, slot)
    for number, (name, density) in enumerate(layers, 1):
        tip = f"{label} · {short(name)}: {say.density(density)} %"
        if density > 0:
            plot.canvas.marker(plot.x.scale(number), plot.y.scale(density), slot, tip, 0.75)
        if _lost(point, name):
            place = plot.x.scale(number) + shift
            plot.canvas.cross(place, plot.frame.bottom - 6, f"s{slot}", tip, size=3)


def _lost(point: CollapsePoint, name: str) -> bool:
    return short(name) in map(short, point.collapsed)


def _values(drawn: Drawn, id: str, words: Words) -> Table:
    names = list(dict.fromkeys(name for _, _, point in drawn for name in point.layers))
    columns = (
        Column(words("column.layer"), "left"),
        *(Column(f"{label} ({say.sparsity(point.sparsity)} %)") for _, label, point in drawn),
    )
    rows = tuple(Row((short(n), *(_value(point, n) for _, _, point in drawn))) for n in names)
    return Table(f"{id}-data", words("figure.data"), columns, rows)


def _value(point: CollapsePoint, name: str) -> str:
    if name not in point.layers:
        return say.NONE
    return say.density(point.layers[name]) + (" ×" if _lost(point, name) else "")


def _table(analysis: Collapse, id: str, palette: Palette, words: Words) -> Table:
    columns = (
        Column(words("column.method"), "left"),
        Column(words("column.network"), "left"),
        Column(words("column.collapse")),
        Column(words("column.layers")),
    )
    rows = tuple(_row(method, palette, words) for method in analysis.methods)
    return Table(id, words("table.collapse"), columns, rows, words("table.collapse.caption"))


def _row(method: CollapseMethod, palette: Palette, words: Words) -> Row:
    points = sorted(method.points, key=lambda point: point.sparsity)
    first = next((point for point in points if point.collapsed), None)
    most = say.sparsity(points[-1].sparsity)
    where = words("collapse.none", sparsity=most) if first is None else say.sparsity(first.sparsity)
    layers = "0" if first is None else f"{len(first.collapsed)} / {len(first.layers)}"
    return Row((method.label, method.network, where, layers), (), palette.slot(method.label))
