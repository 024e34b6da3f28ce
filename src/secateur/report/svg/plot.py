"""Line charts: a frame with two axes, and what is drawn inside it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .. import style
from .canvas import Canvas
from .scale import Linear, Log

Tick = tuple[float, str]


@dataclass(frozen=True)
class Frame:
    """The rectangle data are drawn in."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Axis:
    """A scale, its ticks, and what it measures."""

    scale: Linear | Log
    ticks: Sequence[Tick]
    title: str = ""


class Plot:
    """A frame on a canvas.

    Args:
        canvas, frame: where to draw.
        x, y: axes; `top`: a second reading of x along the upper edge, or None.
    """

    def __init__(
        self, canvas: Canvas, frame: Frame, x: Axis, y: Axis, top: Axis | None = None
    ) -> None:
        self.canvas, self.frame, self.x, self.y = canvas, frame, x, y
        self._draw_y()
        self._draw_x()
        if top is not None:
            self._draw_top(top)

    def _draw_y(self) -> None:
        canvas, frame = self.canvas, self.frame
        for value, label in self.y.ticks:
            place = self.y.scale(value)
            canvas.line(frame.left, place, frame.right, place, "grid")
            canvas.text(frame.left - 6, place + 3.8, label, "muted", anchor="end")
        lift = 26 if self.frame.top > 40 else 12
        canvas.text(
            max(frame.left - 42, 2.0), frame.top - lift, self.y.title, "ink", font_weight=600
        )

    def _draw_x(self) -> None:
        canvas, frame = self.canvas, self.frame
        canvas.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis")
        for value, label in self.x.ticks:
            place = self.x.scale(value)
            canvas.line(place, frame.bottom, place, frame.bottom + 4, "axis")
            canvas.text(place, frame.bottom + 16, label, "muted", anchor="middle")
        canvas.text(
            frame.right, frame.bottom + 32, self.x.title, "ink", anchor="end", font_weight=600
        )

    def _draw_top(self, top: Axis) -> None:
        canvas, frame = self.canvas, self.frame
        canvas.line(frame.left, frame.top, frame.right, frame.top, "grid")
        for value, label in top.ticks:
            canvas.text(top.scale(value), frame.top - 6, label, "muted", anchor="middle")
        canvas.text(frame.right, frame.top - 22, top.title, "muted", anchor="end")

    def beside(self, x: float, pixels: float) -> float:
        """The value whose place is that many pixels to the right of the place of `x`."""
        return self.x.scale.inverse(self.x.scale(x) + pixels)

    def inside(self, x: float, y: float) -> bool:
        """Whether a point of the data lies within the frame."""
        return (
            self.frame.left - 0.1 <= self.x.scale(x) <= self.frame.right + 0.1
            and self.frame.top - 0.1 <= self.y.scale(y) <= self.frame.bottom + 0.1
        )

    def line(self, points: Sequence[tuple[float, float]], slot: int) -> None:
        """A line through points of the data; what leaves the frame is cut at its lower edge."""
        for piece in _pieces(self, points):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
            self.canvas.add(
                "polyline", f"s{slot}", points=path, stroke_width=1.8,
                stroke_dasharray=style.dash(slot), stroke_linejoin="round",
            )  # fmt: skip

    def bar(self, x: float, low: float, high: float, slot: int) -> None:
        """An error bar, cut at the frame; a cut end has no cap."""
        place = self.x.scale(x)
        ends = [(value, self.y.scale.clamp(value)) for value in (low, high)]
        self.canvas.line(
            place, ends[0][1], place, ends[1][1], f"s{slot}", stroke_width=1, opacity=0.65
        )
        for value, y in ends:
            if self.inside(x, value):
                self.canvas.line(
                    place - 3, y, place + 3, y, f"s{slot}", stroke_width=1, opacity=0.65
                )

    def dot(self, x: float, y: float, slot: int) -> None:
        """A small dot for one observation; outside the frame it is not drawn."""
        if self.inside(x, y):
            self.canvas.add(
                "circle", f"f{slot}", cx=self.x.scale(x), cy=self.y.scale(y), r=1.7, opacity=0.45
            )

    def marker(self, x: float, y: float, slot: int, tip: str) -> None:
        """The marker of a slot; outside the frame it is not drawn."""
        if self.inside(x, y):
            self.canvas.marker(self.x.scale(x), self.y.scale(y), slot, tip)

    def level(self, y: float) -> None:
        """A dashed line across: a value to compare with."""
        place = self.y.scale(y)
        self.canvas.line(
            self.frame.left, place, self.frame.right, place, "dense",
            stroke_dasharray="5 4", stroke_width=1.2,
        )  # fmt: skip


def _pieces(plot: Plot, points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The parts of a line above the lower edge, in places on the canvas."""
    pieces: list[list[tuple[float, float]]] = []
    places = [(plot.x.scale(x), plot.y.scale(y)) for x, y in points]
    for a, b in itertools.pairwise(places):
        piece = _cut(a, b, plot.frame.bottom)
        if piece and pieces and pieces[-1][-1] == piece[0]:
            pieces[-1].append(piece[1])
        elif piece:
            pieces.append(piece)
    return pieces


def _cut(
    a: tuple[float, float], b: tuple[float, float], bottom: float
) -> list[tuple[float, float]]:
    """The part of a segment above `bottom` (y grows downwards), or nothing."""
    if max(a[1], b[1]) <= bottom:
        return [a, b]
    if min(a[1], b[1]) > bottom:
        return []
    share = (bottom - a[1]) / (b[1] - a[1])
    edge = (a[0] + share * (b[0] - a[0]), bottom)
    return [a, edge] if a[1] <= bottom else [edge, b]
