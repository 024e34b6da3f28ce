"""Why a model with less work is not faster by as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from .latency import Latency
from .macs import MacCount

VECTOR = 8  # floats of an AVX register; also what tensor cores like to see
MACS_PER_BYTE = 4  # below, today's CPUs and GPUs wait for memory rather than for arithmetic
START = 5e-6  # seconds that starting one operator from Python takes, roughly
SHORTFALL = 0.85  # share of the MAC ratio from which on nothing needs an explanation


@dataclass(frozen=True)
class Work:
    """What the reasons look at: a model's MACs and the channel counts of its layers."""

    macs: MacCount
    channels: dict[str, tuple[int, int]]


def channels_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Layer name → (inputs, outputs) of every linear layer and convolution."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found[name] = (module.in_features, module.out_features)
        elif isinstance(module, nn.modules.conv._ConvNd):
            found[name] = (module.in_channels, module.out_channels)
    return found


def why_not(a: Work, b: Work, rows: Sequence[Latency]) -> list[str]:
    """Sentences that explain rows where b is not faster than a by its share of MACs.

    None where b does as well as its MACs promise everywhere.
    """
    promised = a.macs.total / max(b.macs.total, 1)
    short = [
        row
        for row in rows
        if row.speedup.verdict != "faster" or row.speedup.ratio < SHORTFALL * promised
    ]
    if not short:
        return []
    found = [
        zeros_in_dense_kernels(b) or same_work(a, b),
        odd_channels(a, b),
        memory_bound(a, b),
        start_up(b, short),
    ]
    return [reason for reason in found if reason]


def zeros_in_dense_kernels(b: Work) -> str | None:
    """Removed weights that are still multiplied with."""
    idle = 1 - b.macs.nonzero / max(b.macs.total, 1)
    if idle < 0.1:
        return None
    return (
        f"unstructured zeros: {idle:.0%} of its MACs multiply with removed weights, which a dense "
        "kernel does all the same; remove whole channels, neurons or heads, or use a sparse layout"
    )


def same_work(a: Work, b: Work) -> str | None:
    """No fewer MACs to begin with."""
    if b.macs.total < 0.99 * a.macs.total:
        return None
    return (
        f"no less work: a dense pass takes {b.macs.total:,} MACs, {a.macs.total:,} in the reference"
    )


def odd_channels(a: Work, b: Work) -> str | None:
    """Channel counts that leave vector registers part empty where the reference filled them."""
    odd = [f"{name or 'the model'} ({_count(b.channels[name])})" for name in odd_layers(a, b)]
    if not odd:
        return None
    return (
        f"odd channel counts: {len(odd)} layers lost their multiple of {VECTOR}, among them "
        f"{', '.join(odd[:3])}; round what is kept to {VECTOR} or {2 * VECTOR}"
    )


def odd_layers(a: Work, b: Work) -> list[str]:
    """Layers of b with a channel count that is no multiple of a vector where a's was."""
    return [
        name
        for name, counts in b.channels.items()
        if any(
            new % VECTOR and not old % VECTOR
            for old, new in zip(a.channels.get(name, (1, 1)), counts, strict=True)
        )
    ]


def memory_bound(a: Work, b: Work) -> str | None:
    """Time that goes into moving bytes, of which pruning removed less than of the MACs."""
    moved = sum(b.macs.traffic.values())
    waiting = {
        name: traffic
        for name, traffic in b.macs.traffic.items()
        if b.macs.layers.get(name, 0) < MACS_PER_BYTE * traffic
    }
    fewer_macs = a.macs.total / max(b.macs.total, 1)
    fewer_bytes = sum(a.macs.traffic.values()) / max(moved, 1)
    if sum(waiting.values()) <= 0.3 * moved or fewer_bytes > SHORTFALL * fewer_macs:
        return None
    largest = sorted(waiting, key=lambda name: -waiting[name])[:3]
    return (
        f"memory-bound layers: {sum(waiting.values()) / moved:.0%} of the bytes it moves belong to "
        f"layers with fewer than {MACS_PER_BYTE} MACs per byte (largest: "
        f"{', '.join(name or 'the model' for name in largest)}); MACs fell {fewer_macs:.1f}x, "
        f"bytes {fewer_bytes:.1f}x"
    )


def start_up(b: Work, rows: Sequence[Latency]) -> str | None:
    """A pass so short that starting its operators takes a good part of it."""
    shortest = min((row.b for row in rows if row.setting.runtime == "eager"), default=float("inf"))
    starting = START * b.macs.operators
    if starting < 0.3 * shortest:
        return None
    return (
        f"small work: starting its {b.macs.operators} operators takes about {1e3 * starting:.2f} ms "
        f"of {1e3 * shortest:.2f} ms, however little they do; use a larger batch or torch.compile"
    )


def _count(counts: tuple[int, int]) -> str:
    return f"{counts[0]} to {counts[1]}"
