"""Sweet spots: which multiples of channels this machine's kernels like, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..structure.graph.terms import Var
from ..structure.listing import Structures
from .latency import LatencyCost

SPAN = 32
"""The largest multiple that is tried."""

TOLERANCE = 0.05
"""How much more than its share a good width may take."""

ROUNDS = 9
"""How often every width is timed, in turn with all others of its structure."""

DRAWS = 1000

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Waste:
    """The share of time that widths of one multiple waste, with its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:+.1%} [{self.low:+.1%}, {self.high:+.1%}]"


@dataclass(frozen=True)
class Spot:
    """A multiple: the vector width as far as the measurement lets it be.

    Attributes:
        low: from this multiple on no waste is certain.
        high: from this one on it is certain that there is none.
        multiple: what lies nearest to the vector width between them.
        waste: multiple -> what widths waste that are no better multiple.
    """

    low: int
    high: int
    multiple: int
    waste: Mapping[int, Waste]

    def __str__(self) -> str:
        between = (
            "" if self.low == self.high else f" ({self.low} to {self.high} are not told apart)"
        )
        return f"{self.multiple}{between}"


@dataclass(frozen=True)
class SweetSpots(Mapping[str, int]):
    """Structure -> the multiple its widths should be of; 1 where any will do.

    Attributes:
        spots: of every structure.
        milliseconds: structure -> what the operators over it take.
        all: of all structures together, each by its milliseconds.
    """

    spots: Mapping[str, Spot]
    milliseconds: Mapping[str, float]
    all: Spot

    def __getitem__(self, name: str) -> int:
        return self.spots[name].multiple

    def __iter__(self) -> Iterator[str]:
        return iter(self.spots)

    def __len__(self) -> int:
        return len(self.spots)

    @property
    def common(self) -> int:
        """One multiple for all, as `round_to` takes it."""
        return self.all.multiple

    def __str__(self) -> str:
        width = max(map(len, self.spots), default=0)
        lines = [
            f"{name:{width}}  {self.milliseconds[name]:>8.3f} ms  {spot}"
            for name, spot in self.spots.items()
        ]
        wasted = [f"widths that are multiples of {m} waste {w}" for m, w in self.all.waste.items()]
        return "\n".join([*lines, f"one multiple for all: {self.all}", *wasted])


def sweet_spots(
    found: Structures, cost: LatencyCost, *, tolerance: float = TOLERANCE, vector: int | None = None
) -> SweetSpots:
    """Measure every structure at widths of different multiples, the rest of the network dense.

    waste(m) = t(w) / line(w) − 1, the worst w of two that are multiples of m and not of 2 m

    where t is what the operators over the structure take and `line` joins t at two multiples of 32
    around three quarters of its width. All widths of a structure are timed in turn, nine times; a
    waste is the median of the rounds' ratios, and its interval the 95 % of bootstrap draws of rounds.
    From the smallest m on from which no waste is certain (the interval above `tolerance`) to the one
    from which there certainly is none (below it), the multiple nearest to the vector width is
    taken: what a measurement cannot tell apart, the registers decide.

    Args:
        found: the structures of the network.
        cost: its measured operators; what is measured joins its table.
        tolerance: the waste that counts as none.
        vector: numbers in a register; by default that of the machine (`vector_width`).
    """
    width = vector or vector_width(cost.table.device)
    axes = {axis.name: axis for axis in found if axis.default}
    wasted = {name: _wasted(cost, axis.var, axis.units) for name, axis in axes.items()}
    whole = {name: cost.over(axis.var, axis.units) for name, axis in axes.items()}
    spots = {name: _spot(samples, tolerance, width) for name, samples in wasted.items()}
    together = _together(wasted, whole)
    return SweetSpots(spots, whole, _spot(together, tolerance, width))


def vector_width(device: torch.device) -> int:
    """Floats in a vector register of the CPU; on a GPU the eight that tensor cores take."""
    if device.type != "cpu":
        return 8
    return {"AVX512": 16, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 4)


def _wasted(cost: LatencyCost, axis: Var, units: int) -> dict[int, Samples]:
    """Multiple -> [rounds] share wasted, of the worse of its widths."""
    span = min(SPAN, 1 << (units // 2).bit_length() - 1) if units >= 2 else 1
    low = max(span, min(3 * units // 4, units - span) // span * span)
    powers = [1 << n for n in range(span.bit_length() - 1)]
    offsets = sorted({0, span, *(o for m in powers for o in _offsets(m, span))})
    if not powers:
        return {}
    times = _times(cost, axis, [low + offset for offset in offsets])
    first, last = times[:, 0], times[:, -1]
    over = {
        offset: times[:, i] / (first + (last - first) * offset / span) - 1
        for i, offset in enumerate(offsets)
    }
    return {m: max((over[o] for o in _offsets(m, span)), key=np.median) for m in powers}


def _times(cost: LatencyCost, axis: Var, widths: list[int]) -> Samples:
    """[rounds, widths] milliseconds of the operators over an axis."""
    uses = [Counter(map(str, cost.kernels_over(axis, width))) for width in widths]
    kernels = {str(k): k for width in widths for k in cost.kernels_over(axis, width)}
    times = cost.table.in_turn(list(kernels.values()), ROUNDS)  # [rounds, kernels]
    counts = np.array([[use[name] for name in kernels] for use in uses])  # [widths, kernels]
    return times @ counts.T


def _together(
    wasted: Mapping[str, Mapping[int, Samples]], whole: Mapping[str, float]
) -> dict[int, Samples]:
    """The waste of all structures that are wide enough, by what each takes of the time."""
    out = {}
    for multiple in sorted({m for samples in wasted.values() for m in samples}):
        of = {name: samples[multiple] for name, samples in wasted.items() if multiple in samples}
        weight = sum(whole[name] for name in of)
        out[multiple] = sum((whole[n] / weight * s for n, s in of.items()), np.zeros(ROUNDS))
    return out


def _spot(samples: Mapping[int, Samples], tolerance: float, vector: int) -> Spot:
    """The multiple, from rounds of every multiple's waste.

    >>> rounds = {1: np.full(9, 0.3), 2: np.full(9, 0.1), 4: np.linspace(0, 0.1, 9), 8: np.zeros(9)}
    >>> _spot(rounds, 0.05, 16).multiple, _spot(rounds, 0.05, 2).multiple
    (8, 4)
    """
    waste = {multiple: _interval(rounds) for multiple, rounds in samples.items()}
    low = _after([m for m, w in waste.items() if w.low > tolerance])
    high = _after([m for m, w in waste.items() if w.high > tolerance])
    return Spot(low, high, min(max(vector, low), high), waste)


def _after(bad: list[int]) -> int:
    """The smallest multiple beyond all that are bad."""
    return 2 * max(bad) if bad else 1


def _interval(rounds: Samples) -> Waste:
    """The median with a bootstrap interval."""
    picks = np.random.default_rng(0).integers(len(rounds), size=(DRAWS, len(rounds)))
    low, high = np.quantile(np.median(rounds[picks], axis=1), [0.025, 0.975])
    return Waste(float(np.median(rounds)), float(low), float(high))


def _offsets(multiple: int, span: int) -> list[int]:
    """Two multiples of m that are none of 2 m, in the first and the second half of the span.

    >>> _offsets(16, 32), _offsets(8, 32), _offsets(1, 32)
    ([16], [8, 24], [9, 25])
    """
    middle = span // 2
    first = next(o for o in range(middle // 2, span) if o % (2 * multiple) == multiple)
    return sorted({first, first + middle if first + middle < span else first})
