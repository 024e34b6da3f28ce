"""Milliseconds as a cost: a per-layer table, measured once and set to the network's own time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sized
from typing import Any

import torch
from torch import nn

from ..core.errors import PlanError
from ..measure.forward import as_call, device_of, evaluating, explained
from ..measure.kernel import Kernel
from ..measure.latency import Timer, timer_for
from ..measure.runtimes import runner
from ..measure.table import LatencyTable
from ..structure.graph.op import base_name
from ..structure.graph.terms import Var
from ..structure.graph.trace import Trace
from ..structure.listing import Structures
from .calls import Counts, calls_of

RUNS = 7
"""Timed passes of the whole network; the fastest counts."""


class LatencyCost:
    """Milliseconds of one pass at the example when only some units stay.

    cost(kept) = D / Σ_o t_o(dense) · Σ_o t_o(kept)      o: operators, D: `dense`

    t_o is what the operator takes alone on tensors of the sizes that are left: measured once for
    each, when it is asked for. Odd widths are dear on many machines, and no neighbour tells by how
    much: every width is measured, unless `step` says otherwise.

    Args:
        found: the structures of the network, or the trace behind them.
        table: of the operators' times.
        dense: milliseconds of one pass of the whole network.
        step: measure at multiples of this many units only (of an eighth of a wide axis), and between
            them interpolate along the operator's work, multiplications or elements moved; for a
            search that asks for thousands of widths.
    """

    def __init__(
        self, found: Structures | Trace, table: LatencyTable, dense: float, *, step: int = 1
    ) -> None:
        traced = found.trace if isinstance(found, Structures) else found
        if traced.untraced:
            raise PlanError(
                "a latency per layer needs a network that torch.export follows as a whole; "
                f"{next(iter(traced.untraced.values()))}"
            )
        self.table, self.dense, self.step = table, dense, step
        self.calls = calls_of(traced.inference)
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}
        self.scale = dense / sum(self._at(number, {}) for number in range(len(self.calls)))

    def __call__(self, kept: Mapping[Var, Sized]) -> float:
        """Milliseconds.

        Args:
            kept: variable of an axis -> numbers of the units that stay; others stay whole.
        """
        return sum(self.layers(kept).values())

    def layers(self, kept: Mapping[Var, Sized] | None = None) -> dict[str, float]:
        """Submodule -> its milliseconds; they add up to the cost."""
        counts = {axis: len(units) for axis, units in (kept or {}).items()}
        out: dict[str, float] = defaultdict(float)
        for number, call in enumerate(self.calls):
            out[call.layer] += self.scale * self._between(number, counts)
        return dict(out)

    def operators(self, kept: Mapping[Var, Sized] | None = None) -> dict[str, float]:
        """Operator, e.g. `conv2d` -> its milliseconds; they add up to the cost."""
        counts = {axis: len(units) for axis, units in (kept or {}).items()}
        out: dict[str, float] = defaultdict(float)
        for number, call in enumerate(self.calls):
            out[base_name(call.node)] += self.scale * self._between(number, counts)
        return dict(out)

    def kernels_over(self, axis: Var, count: int) -> list[Kernel]:
        """The operators over one axis alone, with `count` of its units left and all else whole."""
        return [call.kernel({axis: count}) for call in self.calls if axis in call.axes]

    def over(self, axis: Var, count: int) -> float:
        """Milliseconds of the operators over one axis alone, with `count` of its units left."""
        touched = [number for number, call in enumerate(self.calls) if axis in call.axes]
        return self.scale * sum(self._between(number, {axis: count}) for number in touched)

    def _between(self, number: int, counts: Counts) -> float:
        """Interpolated between the operator with all widths rounded down and with all rounded up."""
        call = self.calls[number]
        asked = {axis: counts.get(axis, axis.size) for axis in call.axes}
        low = {axis: rounded(n, axis.size, self.step)[0] for axis, n in asked.items()}
        high = {axis: rounded(n, axis.size, self.step)[1] for axis, n in asked.items()}
        less, more = call.work(low), call.work(high)
        fastest = self._at(number, low)
        if less == more:
            return fastest
        share = (call.work(asked) - less) / (more - less)
        return fastest + share * (self._at(number, high) - fastest)

    def _at(self, number: int, counts: Counts) -> float:
        call = self.calls[number]
        key = number, tuple(counts.get(axis, axis.size) for axis in call.axes)
        if key not in self._known:
            self._known[key] = self.table.milliseconds(call.kernel(counts))
        return self._known[key]


def latency_cost(
    model: nn.Module,
    example: Any,
    found: Structures | Trace,
    *,
    table: LatencyTable | None = None,
    timer: Timer | None = None,
    step: int = 1,
    dense: float | None = None,
) -> LatencyCost:
    """Measure a network and its operators at the example, batch and all.

    Args:
        model: it is left as it was.
        example: a tensor, a tuple of arguments or a dict of keywords.
        found: what `secateur.trace` found on this example.
        table: times known already, to which more are added; by default those that this process has
            measured with this timer, device and number of threads.
        timer: seconds of one call; by default the clock. `processor_clock` is steadier on a busy
            machine, where one thread runs.
        step: as in `LatencyCost`.
        dense: milliseconds of the whole network, where they are known.
    """
    device = device_of(model)
    if table is None:
        table = shared_table(device, timer)
    if dense is None:
        dense = 1e3 * seconds_of(model, example, timer or timer_for(device))
    return LatencyCost(found, table, dense, step=step)


TABLES: dict[tuple[str, int, Timer | None], LatencyTable] = {}
"""Of this process: device, threads and timer -> times of operators, whose names hold their sizes."""


def shared_table(device: torch.device, timer: Timer | None) -> LatencyTable:
    """The table that everything in this process adds to; another timer has another one."""
    key = str(device), torch.get_num_threads(), timer
    if key not in TABLES:
        TABLES[key] = LatencyTable(device, timer=timer)
    return TABLES[key]


def seconds_of(
    model: nn.Module, example: Any, timer: Timer, runs: int = RUNS, runtime: str = "eager"
) -> float:
    """The fastest of some passes under a runtime, after two to warm up."""
    call = as_call(example).map(lambda tensor: tensor.to(device_of(model)))
    with evaluating(model), explained(call), torch.no_grad():
        run = runner(runtime, model, call)
        run(), run()
        return min(timer(run) for _ in range(runs))


def rounded(count: int, units: int, step: int) -> tuple[int, int]:
    """The measured widths on both sides of `count` units of an axis of `units`.

    >>> rounded(37, 64, 8), rounded(40, 64, 8), rounded(3, 64, 8), rounded(100, 512, 8)
    ((32, 40), (40, 40), (1, 8), (64, 128))
    >>> rounded(5, 12, 8), rounded(37, 64, 1)
    ((5, 5), (37, 37))
    """
    if step == 1 or units < 2 * step:
        return count, count
    step *= max(1, units // (8 * step))
    low, high = count // step * step, -(-count // step) * step
    return max(low, min(count, 1)), min(high, units)
