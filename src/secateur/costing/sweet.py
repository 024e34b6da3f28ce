"""Sweet spots: which multiples of channels this machine's kernels like, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..structure.graph.terms import Var
from ..structure.listing import Structures
from .latency import LatencyCost

SPAN = 32
"""The largest multiple that is tried."""

TOLERANCE = 0.05
"""How much more than its share a good width may take."""


@dataclass(frozen=True)
class SweetSpots(Mapping[str, int]):
    """Structure -> the smallest multiple at which no width wastes time; 1 where it is narrow.

    Attributes:
        multiples: of every structure.
        waste: structure -> multiple -> the share of time wasted by widths that are no better multiple.
        milliseconds: structure -> what the operators over it take.
    """

    multiples: Mapping[str, int]
    waste: Mapping[str, Mapping[int, float]]
    milliseconds: Mapping[str, float]

    def __getitem__(self, name: str) -> int:
        return self.multiples[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.multiples)

    def __len__(self) -> int:
        return len(self.multiples)

    @property
    def common(self) -> int:
        """One multiple for all, as `round_to` takes it: the median over milliseconds of wide structures."""
        timed = sorted((m, self.milliseconds[name]) for name, m in self.multiples.items() if m > 1)
        half, passed = sum(ms for _, ms in timed) / 2, 0.0
        for multiple, ms in timed:
            passed += ms
            if passed >= half:
                return multiple
        return 1

    def __str__(self) -> str:
        width = max(map(len, self.multiples), default=0)
        lines = [
            f"{name:{width}}  {multiple:>3}  {self.milliseconds[name]:>8.3f} ms"
            for name, multiple in self.multiples.items()
        ]
        return "\n".join([*lines, f"one multiple for all: {self.common}"])


def sweet_spots(
    found: Structures, cost: LatencyCost, *, tolerance: float = TOLERANCE
) -> SweetSpots:
    """Measure every structure at widths of different multiples, the rest of the network dense.

    waste(m) = max over w of t(w) / line(w) − 1      w: widths that are multiples of m, not of 2 m

    where t is what the operators over the structure take and `line` joins t at two multiples of 32
    around three quarters of its width. The multiple of a structure is the smallest m from which on,
    m, 2 m, … 32, no waste exceeds `tolerance`.

    Args:
        found: the structures of the network.
        cost: its measured operators, with `step=1`; what is measured joins its table.
        tolerance: the waste that counts as none.
    """
    waste = {axis.name: _waste(cost, axis.var, axis.units) for axis in found if axis.default}
    multiples = {name: _smallest(wasted, tolerance) for name, wasted in waste.items()}
    whole = {axis.name: cost.over(axis.var, axis.units) for axis in found if axis.default}
    return SweetSpots(multiples, waste, whole)


def _waste(cost: LatencyCost, axis: Var, units: int) -> dict[int, float]:
    """Multiple -> share wasted."""
    span = min(SPAN, 1 << (units // 2).bit_length() - 1) if units >= 2 else 1
    low = max(span, min(3 * units // 4, units - span) // span * span)
    ends = cost.over(axis, low), cost.over(axis, low + span)

    def wasted(offset: int) -> float:
        line = ends[0] + (ends[1] - ends[0]) * offset / span
        return cost.over(axis, low + offset) / line - 1

    powers = [1 << n for n in range(span.bit_length() - 1)]
    return {m: max(wasted(o) for o in _offsets(m, span)) for m in powers}


def _offsets(multiple: int, span: int) -> list[int]:
    """Two multiples of m that are none of 2 m, in the first and the second half of the span.

    >>> _offsets(16, 32), _offsets(8, 32), _offsets(1, 32)
    ([16], [8, 24], [9, 25])
    """
    middle = span // 2
    first = next(o for o in range(middle // 2, span) if o % (2 * multiple) == multiple)
    return sorted({first, first + middle if first + middle < span else first})


def _smallest(waste: Mapping[int, float], tolerance: float) -> int:
    """The smallest multiple from which on nothing is wasted.

    >>> _smallest({1: 0.3, 2: 0.0, 4: 0.1, 8: 0.01, 16: 0.0}, 0.03), _smallest({1: 0.3, 2: 0.3}, 0.1)
    (8, 4)
    """
    bad = [m for m, share in waste.items() if share > tolerance]
    return 2 * max(bad) if bad else 1
