"""Accuracy against sparsity: all methods in one figure, and its top enlarged where that helps."""

from __future__ import annotations

from dataclasses import dataclass

from ...experiments.statistics import CurvePoint
from .. import notation as say
from ..blocks import Column, Figure, Row, Table
from ..study import Series, Study
from ..svg.canvas import Canvas
from ..svg.plot import Axis, Frame, Plot
from ..svg.scale import Linear, Log, density_ticks, nice_ticks, spread
from ..tables import at_run_time, named
from ..words import Words
from . import both

ZOOM = 0.10
"""The enlarged panel begins this far below the best accuracy."""


@dataclass(frozen=True)
class _Drawing:
    """What both panels share."""

    study: Study
    words: Words
    width: float

    def points(self) -> list[CurvePoint]:
        return [point for series in self.study.series for point in visible(series)]

    def panel(self, canvas: Canvas, frame: Frame, limits: tuple[float, float], title: str) -> None:
        """One panel; `title` is the key of what its vertical axis measures."""
        plot = Plot(canvas, frame, *self._axes(frame, limits, title))
        if self.study.baseline is not None:
            plot.level(self.study.baseline.accuracy.mean)
        for series, shift in zip(self.study.series, self._shifts(), strict=True):
            _draw_series(plot, series, shift)

    def _shifts(self) -> list[float]:
        """How far, in pixels, each method is drawn beside its place, so that bars do not cover."""
        count = len(self.study.series)
        if count == 1 or not several(self.study):
            return [0.0] * count
        step = min(3.0, 14 / (count - 1))
        return [step * (number - (count - 1) / 2) for number in range(count)]

    def frame(self, top: float, bottom: float) -> Frame:
        """The frame between two heights of the canvas."""
        return Frame(40.0, top, self.width - 14, bottom)

    def _axes(
        self, frame: Frame, limits: tuple[float, float], title: str
    ) -> tuple[Axis, Axis, Axis]:
        x, sparsities, densities = self._x(frame)
        y = Linear(*limits, frame.bottom, frame.top)
        ticks = nice_ticks(100 * limits[0], 100 * limits[1], 6)
        metric = self.words(f"metric.{self.study.metric}").capitalize()
        return (
            Axis(x, sparsities, self.words("axis.sparsity")),
            Axis(
                y, [(tick / 100, f"{tick:g}") for tick in ticks], self.words(title, metric=metric)
            ),
            Axis(x, densities, self.words("axis.density")),
        )

    def _x(self, frame: Frame) -> tuple[Log, list[tuple[float, str]], list[tuple[float, str]]]:
        densities = [point.density.mean for point in self.points()]
        high = 1.0 if max(densities) > 0.4 else max(densities)
        low = min(*densities, high * 0.8)
        pad = (high / low) ** 0.03
        scale = Log(high * pad, low / pad, frame.left, frame.right)
        ticks = density_ticks(high * pad, low / pad)
        kept = [ticks[i] for i in spread([scale(tick) for tick in ticks], 36)]
        below = [(tick, f"{100 * (1 - tick):.6g} %") for tick in kept]
        return scale, below, [(tick, f"{100 * tick:.6g} %") for tick in kept]


def curves(study: Study, words: Words) -> Figure | None:
    """The figure, or None where there is nothing to draw."""
    drawing = [_Drawing(study, words, 0)]
    if not study.series or not drawing[0].points():
        return None
    alt = words("figure.curves.alt", series=" ".join(_said(s, words) for s in study.series))
    return both(
        lambda width: _draw(_Drawing(study, words, width)),
        "curves",
        words("figure.curves"),
        alt,
        caption=_caption(study, words),
        legend=tuple((s.slot, named(s.label, s.curve[-1], words)) for s in study.series),
        table=_table(study, words),
    )


def visible(series: Series) -> tuple[CurvePoint, ...]:
    """The points a logarithmic axis can show: those with any weight left."""
    return tuple(point for point in series.curve if point.density.mean > 0)


def several(study: Study) -> bool:
    """Whether any point has more than one seed."""
    return any(point.accuracy.n > 1 for series in study.series for point in series.curve)


def _draw(drawing: _Drawing) -> Canvas:
    limits, zoom = _limits(drawing), _zoom(drawing.study)
    height = 380.0 if drawing.width > 500 else 300.0
    canvas = Canvas(drawing.width, height + (height * 0.8 if zoom else 0))
    drawing.panel(canvas, drawing.frame(48, height - 44), limits, "axis.accuracy")
    if zoom:
        lower = drawing.frame(height + 46, height * 1.8 - 44)
        drawing.panel(canvas, lower, zoom, "axis.zoom")
    return canvas


def _accuracies(study: Study) -> list[float]:
    base = [study.baseline.accuracy.mean] if study.baseline else []
    return base + [
        value for s in study.series for point in visible(s) for value in point.by_seed.values()
    ]


def _limits(drawing: _Drawing) -> tuple[float, float]:
    """From the least to the largest single accuracy, with a margin that shows short bars whole."""
    values = _accuracies(drawing.study)
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.004)
    return max(0.0, low - margin), min(1.0, high + margin)


def _zoom(study: Study) -> tuple[float, float] | None:
    """Limits of the enlarged panel: only where the full one spans much more and enough lies inside."""
    values = _accuracies(study)
    high = max(values)
    inside = [value for value in values if value >= high - ZOOM]
    if high - min(values) < 3 * ZOOM or len(inside) < 4:
        return None
    return high - ZOOM, min(1.0, high + 0.1 * ZOOM)


def _draw_series(plot: Plot, series: Series, shift: float) -> None:
    places = [(plot.beside(point.density.mean, shift), point) for point in visible(series)]
    plot.line([(at, point.accuracy.mean) for at, point in places], series.slot)
    for at, point in places:
        summary = point.accuracy
        if summary.n > 1:
            for value in summary.values:
                plot.dot(at, value, series.slot)
        if summary.low is not None and summary.high is not None:
            plot.bar(at, summary.low, summary.high, series.slot)
    for at, point in places:
        plot.marker(at, point.accuracy.mean, series.slot, _tip(series, point))


def _tip(series: Series, point: CurvePoint) -> str:
    return (
        f"{series.label} · {say.sparsity(point.sparsity.mean)} % · {say.accuracy(point.accuracy)} %"
    )


def _said(series: Series, words: Words) -> str:
    first, last = series.curve[0], series.curve[-1]
    return words(
        "figure.curves.alt.series",
        label=series.label,
        first=say.percent(first.accuracy.mean),
        start=say.sparsity(first.sparsity.mean),
        last=say.percent(last.accuracy.mean),
        end=say.sparsity(last.sparsity.mean),
    )


def _caption(study: Study, words: Words) -> str:
    bars = words("figure.curves.bars" if several(study) else "figure.curves.no_bars")
    zoom = " " + words("figure.curves.zoom") if _zoom(study) else ""
    metric = words(f"metric.{study.metric}")
    caption = words("figure.curves.caption", metric=metric, bars=bars) + zoom
    return caption + at_run_time(study, words)


def _table(study: Study, words: Words) -> Table:
    heads = ("sparsity", "density", "top1_ci", "seeds")
    columns = (
        Column(words("column.method"), "left"),
        *(Column(words(f"column.{head}")) for head in heads),
    )
    rows = [_row(series, point, words) for series in study.series for point in series.curve]
    return Table("curves-data", words("figure.data"), columns, tuple(rows))


def _row(series: Series, point: CurvePoint, words: Words) -> Row:
    place = say.sparsity(point.sparsity.mean), say.density(point.density.mean)
    cells = (
        named(series.label, point, words),
        *place,
        say.accuracy(point.accuracy),
        str(point.accuracy.n),
    )
    return Row(cells, point.names, series.slot)
