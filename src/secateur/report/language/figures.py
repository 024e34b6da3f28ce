"""Figures of a study of a language model: quality against memory, and what was removed where."""

from __future__ import annotations

from ...experiments.statistics import pareto
from .. import notation as say
from ..blocks import Column, Figure, Table
from ..blocks import Row as Line
from ..figures import both
from ..svg.canvas import Canvas
from ..svg.heat import Cell, Heat
from ..svg.plot import Axis, Frame, Plot
from ..svg.scale import Linear, nice_ticks
from ..words import Words
from .rows import Row, Rows


def pareto_figure(rows: Rows, words: Words) -> Figure | None:
    """Each run by memory and quality; a line joins those that no other beats."""
    if not rows.pruned:
        return None
    phases = {phase.phase: phase.title for phase in rows.study.phases}
    used = dict.fromkeys(row.entry.phase for row in rows.pruned)
    legend = tuple(
        (p - 1, words("lm.phase", phase=p, title=phases.get(p, "")).rstrip(": ")) for p in used
    )
    return both(
        lambda width: _draw(rows, words, width),
        "pareto",
        words("lm.figure.pareto"),
        words("lm.figure.pareto.alt"),
        caption=words("lm.figure.pareto.caption"),
        legend=legend,
        table=_points(rows, words),
    )


def front(rows: Rows) -> list[Row]:
    """Runs that no other beats in memory and quality, the original among them, by memory."""
    points = [(1 - row.verdict.memory, row.verdict.quality) for row in rows.all]
    kept = [row for row, on in zip(rows.all, pareto(points), strict=True) if on]
    return sorted(kept, key=lambda row: row.verdict.memory)


def _draw(rows: Rows, words: Words, width: float) -> Canvas:
    height = 360.0 if width > 500 else 290.0
    canvas = Canvas(width, height)
    frame = Frame(44.0, 36, width - 16, height - 44)
    x, y = _axes(rows, words, frame)
    plot = Plot(canvas, frame, x, y)
    plot.level(100.0)
    line = [(100 * r.verdict.memory, 100 * r.verdict.quality) for r in front(rows)]
    if len(line) > 1:
        places = " ".join(f"{x.scale(a):.1f},{y.scale(b):.1f}" for a, b in line)
        canvas.add("polyline", "axis", points=places, stroke_width=1.4)
    for row in rows.pruned:
        place = (100 * row.verdict.memory, 100 * row.verdict.quality)
        tip = f"{row.entry.id} · {place[0]:.1f} % · {place[1]:.1f} %"
        plot.marker(*place, row.entry.phase - 1, tip)
    if rows.winner is not None:
        verdict = rows.winner.verdict
        at = x.scale(100 * verdict.memory), y.scale(100 * verdict.quality)
        canvas.text(at[0] + 8, at[1] - 7, rows.winner.entry.id, "ink", font_weight=600)
    return canvas


def _axes(rows: Rows, words: Words, frame: Frame) -> tuple[Axis, Axis]:
    memory = [100 * row.verdict.memory for row in rows.all]
    quality = [100 * row.verdict.quality for row in rows.all]
    x = Linear(*_limits(memory), frame.left, frame.right)
    y = Linear(*_limits(quality), frame.bottom, frame.top)
    count = 8 if frame.right > 400 else 5
    across = [(v, f"{v:g}") for v in nice_ticks(x.low, x.high, count)]
    up = [(v, f"{v:g}") for v in nice_ticks(y.low, y.high, 6)]
    return Axis(x, across, words("lm.axis.memory")), Axis(y, up, words("lm.axis.quality"))


def _limits(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.5)
    return low - margin, high + margin


def _points(rows: Rows, words: Words) -> Table:
    names = ("id", "memory_kept", "rouge_kept", "bleu_kept")
    heads = [words(f"lm.column.{name}") for name in names]
    columns = (Column(heads[0], "left"), *(Column(head) for head in heads[1:]))
    lines = tuple(
        Line(
            (
                row.entry.id,
                *(
                    say.percent(v, 1)
                    for v in (row.verdict.memory, row.verdict.rouge, row.verdict.bleu)
                ),
            ),
            (row.name,),
        )
        for row in rows.pruned
    )
    return Table("pareto-data", words("figure.data"), columns, lines)


def removed_figure(rows: Rows, words: Words) -> Figure | None:
    """Share of each layer that each run took out."""
    if not rows.pruned:
        return None
    names = list(dict.fromkeys(name for row in rows.shown for name in row.run["layers"]))
    return both(
        lambda width: _heat(rows, names, width),
        "removed",
        words("lm.figure.removed"),
        words("lm.figure.removed.alt"),
        caption=words("lm.figure.removed.caption"),
        table=_removed(rows, names, words),
    )


def _heat(rows: Rows, names: list[str], width: float) -> Canvas:
    most = max((_share(row, name) or 0.0 for row in rows.shown for name in names), default=0) or 1.0
    cells = [[_cell(row, name, most) for row in rows.shown] for name in names]
    heads: list[str | int] = [row.entry.id for row in rows.shown]
    return Heat(short(names), heads, cells).draw(width)


def short(names: list[str]) -> list[str]:
    """Names without what they all begin with, up to a dot.

    >>> short(["model.layers.0.mlp", "model.layers.1.mlp"])
    ['0.mlp', '1.mlp']
    """
    split = [name.split(".") for name in names]
    same = 0
    while all(len(parts) > same + 1 for parts in split) and len({p[same] for p in split}) == 1:
        same += 1
    return [".".join(parts[same:]) for parts in split]


def _share(row: Row, name: str) -> float | None:
    counts = row.run["layers"].get(name)
    return counts[0] / counts[1] if counts else None


def _cell(row: Row, name: str, most: float) -> Cell:
    share = _share(row, name)
    if share is None:
        return Cell(0.0, say.NONE, f"{row.entry.id} · {name}")
    gone, units = row.run["layers"][name]
    return Cell(share / most, f"{100 * share:.0f}", f"{row.entry.id} · {name}: {gone} / {units}")


def _removed(rows: Rows, names: list[str], words: Words) -> Table:
    columns = (
        Column(words("lm.column.structure"), "left"),
        *(Column(row.entry.id) for row in rows.shown),
    )
    lines = tuple(
        Line((name, *(say.percent(_share(row, name), 1) for row in rows.shown))) for name in names
    )
    return Table("removed-data", words("figure.data"), columns, lines)
