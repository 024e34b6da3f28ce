"""Everything that is measured of a model, alone or against another, with a plain verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.errors import PlanError
from ..core.run_time import run_time_layers
from .forward import as_call, device_of
from .latency import Latency, Timer, compare_latency
from .macs import MacCount, count_macs
from .memory import Memory, peak_memory
from .near import near_widths
from .params import ParameterCount, count_parameters
from .reasons import Work, channels_of, odd_layers, why_not
from .run_time import RunTimeWork, measure_run_time
from .size import Size, measure_size
from .table import LatencyTable

TIMED_LAYERS = 3
"""So many odd layers are timed at other widths too."""


@dataclass(frozen=True)
class Measured:
    """One model: its parameters, MACs of one pass of the example, bytes on disk and in memory.

    `run_time`: what its inputs need one by one, where layers decide for every input; else None.
    """

    parameters: ParameterCount
    macs: MacCount
    size: Size
    memory: Memory
    channels: dict[str, tuple[int, int]]
    run_time: RunTimeWork | None = None

    def counts(self) -> dict[str, int]:
        """What -> number, for everything that is a count."""
        return {what: read(self) for what, read in _COUNTS.items()}


@dataclass(frozen=True)
class Comparison:
    """Model b against the reference a: both measured, timed in turn, and judged."""

    a: Measured
    b: Measured
    latency: list[Latency]
    reasons: list[str]
    names: tuple[str, str] = ("a", "b")

    @property
    def verdict(self) -> str:
        """`faster`, `slower`, `no difference`, or `mixed` where the settings disagree."""
        verdicts = {row.speedup.verdict for row in self.latency}
        return verdicts.pop() if len(verdicts) == 1 else "mixed"

    @property
    def mac_ratio(self) -> float:
        """How many times fewer MACs b does in dense kernels: MACs(a) / MACs(b)."""
        return self.a.macs.total / max(self.b.macs.total, 1)

    @property
    def sentence(self) -> str:
        """The verdict in words that name both, whichever came first: `small is 1.80x faster than dense`."""
        reference, judged = self.names
        if self.verdict == "mixed":
            found = Counter(row.speedup.verdict for row in self.latency)
            told = ", ".join(f"{verdict} in {n}" for verdict, n in found.items())
            return f"{judged} against {reference}, of {len(self.latency)} settings: {told}"
        if self.verdict == "no difference":
            return f"no difference in speed was found between {judged} and {reference}"
        ratios = [row.speedup.ratio for row in self.latency]
        ratios = sorted(1 / r for r in ratios) if self.verdict == "slower" else sorted(ratios)
        least, most = f"{ratios[0]:.2f}x", f"{ratios[-1]:.2f}x"
        times = least if least == most else f"{least} to {most}"
        return f"{judged} is {times} {self.verdict} than {reference}"

    def rows(self) -> list[tuple[str, int, int]]:
        """(what, of a, of b) for everything that is a count."""
        other = self.b.counts()
        return [(what, count, other[what]) for what, count in self.a.counts().items()]

    def __str__(self) -> str:
        width = max(len(what) for what in _COUNTS)
        head = f"{'':{width}}  {self.names[0]:>16}  {self.names[1]:>16}   share"
        lines = [
            f"{what:{width}}  {a:>16,}  {b:>16,}  {b / a if a else 1:>6.1%}"
            for what, a, b in self.rows()
        ]
        promise = f" (dense MACs promise {self.mac_ratio:.2f}x)"
        reasons = [f"- {reason}" for reason in self.reasons]
        for name, one in zip(self.names, (self.a, self.b), strict=True):
            reasons += [
                f"{name}: {line}" for line in (one.run_time.lines() if one.run_time else [])
            ]
        return "\n".join([head, *lines, *map(str, self.latency), self.sentence + promise, *reasons])


def measure(model: nn.Module, example: Any, masks: Mapping[str, Tensor] | None = None) -> Measured:
    """Measure one model; see `count_parameters`, `count_macs`, `measure_size`, `peak_memory`.

    Args:
        model: with data, on one device; it is left as it was.
        example: a tensor, a tuple of arguments or a dict of keyword arguments; MACs and memory are
            those of one pass of it, batch and all.
        masks: parameter name → boolean tensor, True = kept; by default zeros count as removed.
    """
    return Measured(
        parameters=count_parameters(model, masks),
        macs=count_macs(model, example, masks),
        size=measure_size(model, masks),
        memory=peak_memory(model, example),
        channels=channels_of(model),
        run_time=_at_run_time(model, example),
    )


def _at_run_time(model: nn.Module, example: Any) -> RunTimeWork | None:
    """What each input of the example needs; None where no layer decides for every input."""
    if not run_time_layers(model):
        return None
    one = isinstance(example, list | tuple) and len(example) == 1
    return measure_run_time(model, [example[0] if one else example])


def compare(
    a: nn.Module,
    b: nn.Module,
    example: Any,
    *,
    masks_a: Mapping[str, Tensor] | None = None,
    masks_b: Mapping[str, Tensor] | None = None,
    batch_sizes: Sequence[int] = (),
    threads: Sequence[int] = (),
    runtimes: Sequence[str] = ("eager",),
    pairs: int = 30,
    warmup: int = 5,
    seed: int = 0,
    names: tuple[str, str] = ("a", "b"),
    timer: Timer | None = None,
) -> Comparison:
    """Measure a reference a and a model b, and say plainly whether b is faster and why not.

    b is `faster` (or `slower`) where the 95 % interval of median(a) / median(b) lies above (below) 1.
    Reasons are given wherever b stays behind 85 % of what its MACs promise.

    Args:
        a, b: two models for the same example, on one device; both are left as they were.
        example: as in `measure`.
        masks_a, masks_b: as in `measure`.
        batch_sizes, threads, runtimes, pairs, warmup, seed, timer: as in `compare_latency`.
        names: what to call a and b in print.
    """
    if a is b:
        raise PlanError("the two models to compare are one object; give the reference its own copy")
    first, second = measure(a, example, masks_a), measure(b, example, masks_b)
    latency = compare_latency(
        a,
        b,
        example,
        batch_sizes=batch_sizes,
        threads=threads,
        runtimes=runtimes,
        pairs=pairs,
        warmup=warmup,
        seed=seed,
        timer=timer,
    )
    works = [Work(measured.macs, measured.channels) for measured in (first, second)]
    reasons = why_not(works[0], works[1], latency)
    if reasons:
        reasons += _near(b, example, odd_layers(works[0], works[1]), works[1], timer)
    return Comparison(first, second, latency, reasons, names)


def _near(
    model: nn.Module, example: Any, odd: Sequence[str], work: Work, timer: Timer | None
) -> list[str]:
    """Of the busiest odd layers, measured: which width near by is faster."""
    busiest = sorted(odd, key=lambda name: -work.macs.layers.get(name, 0))[:TIMED_LAYERS]
    device = device_of(model)
    call = as_call(example).map(lambda tensor: tensor.to(device))
    found = near_widths(model, call, busiest, LatencyTable(device, timer=timer))
    return (
        [f"faster widths near by, layers timed alone: {'; '.join(map(str, found))}"]
        if found
        else []
    )


_COUNTS = {
    "parameters": lambda m: m.parameters.total,
    "non-zero parameters": lambda m: m.parameters.nonzero,
    "MACs": lambda m: m.macs.total,
    "MACs with kept weights": lambda m: m.macs.nonzero,
    "bytes as dense float32": lambda m: m.size.dense,
    "bytes as stored": lambda m: m.size.stored,
    "bytes of memory at peak": lambda m: m.memory.peak,
}
