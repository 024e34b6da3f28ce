"""What networks that decide for every input take: on average over real inputs, with spread, and at worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DataError
from ..core.labelled import call, samples, to
from ..core.run_time import Work, listening, run_time_layers
from .forward import device_of, evaluating
from .macs import count_macs


@dataclass(frozen=True)
class Spread:
    """Over inputs: mean, standard deviation (n − 1), least and most."""

    mean: float
    deviation: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Tensor) -> Spread:
        """Of [n] values."""
        wide = values.double()
        deviation = float(wide.std()) if len(wide) > 1 else 0.0
        return cls(float(wide.mean()), deviation, float(wide.min()), float(wide.max()))


@dataclass(frozen=True)
class LayerWork:
    """One layer: MACs where nothing is left out, those needed, units and how many of them are used."""

    dense: float
    done: Spread
    deciding: float
    units: int
    used: Spread

    def __str__(self) -> str:
        done, whole, used = self.done, self.dense, self.used
        return (
            f"{done.mean / whole:.1%} ± {done.deviation / whole:.1%} of its MACs, at worst "
            f"{done.most / whole:.1%}; {used.mean:,.1f} ± {used.deviation:,.1f} of {self.units:,} units used"
        )


@dataclass(frozen=True)
class RunTimeWork:
    """What one input takes, over the inputs looked at.

    Attributes:
        inputs: how many were looked at.
        dense: MACs where nothing is left out nor decided.
        needed: those that are needed of an input, what deciding takes among them.
        layers: path of a wrapper -> its own.
    """

    inputs: int
    dense: float
    needed: Spread
    layers: dict[str, LayerWork]

    def plain(self) -> dict[str, Any]:
        """Plain data, for records."""
        return asdict(self)

    def lines(self) -> list[str]:
        """In words, with a line per layer."""
        n, d = self.needed, self.dense
        head = [
            f"MACs needed of one input, on average over these {self.inputs} inputs: {n.mean:,.0f} ± "
            f"{n.deviation:,.0f} ({n.mean / d:.1%} of {d:,.0f} dense)",
            f"the worst of them needs {n.most:,.0f} ({n.most / d:.1%}), the best {n.least:,.0f}; other "
            "inputs may need more",
            "a batch computed by dense kernels saves none of it",
        ]
        return head + [f"{name}: {work}" for name, work in self.layers.items()]


def measure_run_time(model: nn.Module, batches: Iterable[Any], most: int = 512) -> RunTimeWork:
    """Run a network with run-time wrappers on real inputs and count what each of them needs.

        needed = dense network + deciding − Σ over wrappers (dense of the layer − done for this input)

    Args:
        model: on any one device; it is left as it was.
        batches: of inputs, each a tensor or a dict of keywords with the samples first, alike in shape.
        most: samples to look at.
    """
    heard: dict[str, list[Work]] = {name: [] for name in run_time_layers(model)}
    seen, first, device = 0, None, device_of(model)
    with evaluating(model), listening(model) as now:
        for batch in batches:
            x = to(_some(batch, most - seen), device)
            first = x if first is None else first
            call(model, x)
            seen += samples(x)
            for name, works in now.items():
                heard[name] += [_once(name, works)]
                works.clear()
            if seen >= most:
                break
    if not seen:
        raise DataError("no inputs to measure on; give a batch of at least one")
    layers = {name: _layer(works) for name, works in heard.items()}
    done = torch.stack([_joined(works, "done") for works in heard.values()]).sum(0)  # [inputs]
    own = sum(layer.dense for layer in layers.values())
    deciding = sum(layer.deciding for layer in layers.values())
    rest = _macs_of_one(model, first) - own - deciding
    return RunTimeWork(seen, rest + own, Spread.of(done + rest + deciding), layers)


def _macs_of_one(model: nn.Module, x: Any) -> float:
    """MACs of the masked computation, per sample, of two or more at once: none is left out."""
    doubled = (
        {k: torch.cat([v, v]) for k, v in x.items()} if isinstance(x, dict) else torch.cat([x, x])
    )
    return count_macs(model, doubled).total / (2 * samples(x))


def _once(name: str, works: list[Work]) -> Work:
    if len(works) != 1:
        raise DataError(
            f"'{name}' was called {len(works)} times for one batch; only one can be counted"
        )
    return works[0]


def _layer(works: list[Work]) -> LayerWork:
    first = works[0]
    return LayerWork(
        first.dense, Spread.of(_joined(works, "done")), first.deciding, first.units,
        Spread.of(_joined(works, "used")),
    )  # fmt: skip


def _joined(works: list[Work], what: str) -> Tensor:
    return torch.cat([getattr(work, what).double().cpu() for work in works])


def _some(x: Any, most: int) -> Any:
    return {k: v[:most] for k, v in x.items()} if isinstance(x, dict) else x[:most]
