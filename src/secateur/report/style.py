"""The looks of figures: a few colours that stay apart for every kind of colour vision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

INK = "#1d2733"
MUTED = "#5b6875"
AXIS = "#9aa5b0"
GRID = "#e6eaee"
PAPER = "#ffffff"
LOST = "#b3261e"
DARK = {
    "ink": "#e8ecf0",
    "muted": "#a3afbb",
    "axis": "#6b7783",
    "grid": "#2a333d",
    "paper": "#12171d",
    "lost": "#ff8a80",
}

SERIES = (
    "#0b62a8",  # blue
    "#d1560a",  # vermilion
    "#0d8f6c",  # green
    "#a8328c",  # purple
    "#4fa9dc",  # sky
    "#c28a00",  # ochre
    "#6b1f3a",  # wine
    "#5b6b2e",  # olive
)
SERIES_DARK = (
    "#5aa6e6",
    "#f2894a",
    "#3fc79f",
    "#dd7cc6",
    "#9ad4f5",
    "#e8bd4a",
    "#d98aa5",
    "#b3c07a",
)
DASHES = ("", "6 3", "2 3", "8 3 2 3")

MARKERS = (
    "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z",  # circle
    "M-3.5 -3.5H3.5V3.5H-3.5Z",  # square
    "M0 -4.6L4.4 3.4H-4.4Z",  # triangle
    "M0 -5L5 0L0 5L-5 0Z",  # diamond
    "M0 4.6L4.4 -3.4H-4.4Z",  # triangle, point down
    "M-1.5 -4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z",  # plus
    "M0 -5L4.8 -1.5L2.9 4.1H-2.9L-4.8 -1.5Z",  # pentagon
    "M-4.5 -2.5H4.5V2.5H-4.5Z",  # bar
)

PREFERRED = {
    "lottery-ticket": 0,
    "han": 1,
    "magnitude": 1,
    "synflow": 2,
    "snip": 3,
    "random": 4,
    "grasp": 5,
    "gradual-magnitude": 6,
    "rigl": 7,
}
"""Methods that meet often have the same colour in every report."""

RAMP = ("#f4f7fa", "#d6e4ef", "#a9c9e0", "#6ea5cb", "#3b7db0", "#1c5a91", "#0d3a6b")
"""From little to much, for heat maps: one hue, so that it also reads in grey."""


@dataclass
class Palette:
    """Gives every label one slot (colour and marker) and keeps to it in all figures.

    >>> palette = Palette()
    >>> palette.slot("SNIP", "snip"), palette.slot("SNIP, one shot"), palette.slot("mine")
    (3, 3, 0)
    """

    taken: dict[str, int] = field(default_factory=dict)

    def reserve(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Give (label, method) pairs whose methods have a colour of their own that colour first."""
        for label, method in pairs:
            wanted = PREFERRED.get(method)
            if wanted is not None and wanted not in self.taken.values():
                self.taken[label] = wanted

    def slot(self, label: str, method: str = "") -> int:
        """The slot of a label: its own, that of a label it is a variant of, or a free one."""
        if label not in self.taken:
            self.taken[label] = self._variant(label, method) if not method else self._new(method)
        return self.taken[label]

    def _variant(self, label: str, method: str) -> int:
        """Labels of analyses carry no method: match the known ones by their first word."""
        first = _first_word(label)
        same = [slot for known, slot in self.taken.items() if _first_word(known) == first]
        if same:
            return same[0]
        return self._new(next((name for name in PREFERRED if first.startswith(name)), method))

    def _new(self, method: str) -> int:
        used = set(self.taken.values())
        wanted = PREFERRED.get(method)
        if wanted is not None and wanted not in used:
            return wanted
        free = (slot for slot in range(len(SERIES) * len(DASHES)) if slot not in used)
        return next(free, len(used) % len(SERIES))


def _first_word(label: str) -> str:
    return label.lower().replace(",", " ").split(" ")[0]


def colour(slot: int) -> str:
    """The light-mode colour of a slot."""
    return SERIES[slot % len(SERIES)]


def dash(slot: int) -> str:
    """The dash pattern of a slot; slots that share a colour differ in it."""
    return DASHES[slot // len(SERIES) % len(DASHES)]


def marker(slot: int) -> str:
    """The marker of a slot, as a path around the origin."""
    return MARKERS[slot % len(MARKERS)]


def ramp(share: float) -> str:
    """The heat-map colour of a share in [0, 1]."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    return _mix(RAMP[low], RAMP[low + 1], place - low)


def on_ramp(share: float) -> str:
    """The colour of text that stays readable on `ramp(share)`."""
    return PAPER if share > 0.63 else INK


def _mix(a: str, b: str, share: float) -> str:
    pairs: Iterable[tuple[int, int]] = zip(_rgb(a), _rgb(b), strict=True)
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in pairs)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
