"""Half of the MACs gone: how much faster is it? ResNet-18 and ViT-Tiny at batch 16 on the CPU.

    python -m benchmarks structured_latency

A method of the catalogue (`--method`, group-norm by default) prunes to a budget of half of the MACs; the
widths are then any number, or multiples of the sweet spot that is measured first. Where weights are not
given they are random: which units go does not matter to the
time. Networks run in turn. With one thread the seconds are those of the
processor, which others on the machine do not lengthen; with two those of the clock, which they do.
The goal is a speed-up of at least 0.85 of the MAC ratio: met where the whole interval is above it.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator, Mapping

import torch
import transformers
from torch import Tensor, nn

import secateur as sc
from secateur.costing import LatencyCost, latency_cost, sweet_spots
from secateur.measure.latency import clock, compare_latency, processor_clock
from secateur.measure.statistics import Interval
from secateur.models import build_seeded
from secateur.structure.listing import Structures

GOAL, SHARE, BATCH = 0.85, 0.5, 16


def networks() -> Iterator[tuple[str, nn.Module, Tensor]]:
    """The two of the goal, with an input."""
    rng = torch.Generator().manual_seed(0)
    resnet = build_seeded("resnet18", 0, num_classes=10, in_channels=3, image_size=32)
    yield (
        "ResNet-18 (CIFAR form, 32x32)",
        resnet.eval(),
        torch.randn(BATCH, 3, 32, 32, generator=rng),
    )
    config = transformers.ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768)
    vit = transformers.ViTForImageClassification(config)
    yield "ViT-Tiny (224x224, patch 16)", vit.eval(), torch.randn(BATCH, 3, 224, 224, generator=rng)


def halved(
    model: nn.Module, x: Tensor, method: str, multiple: int, share: float = SHARE
) -> tuple[nn.Module, dict[str, int]]:
    """The network at a budget of `share` of the MACs, proved on two samples, and its widths."""
    rounded = {"round_to": multiple} if multiple > 1 else {}
    data = (x, torch.arange(len(x)) % 2)
    result = sc.prune(
        model, method, example=x[:2], data=data, trained=True, budget={"macs": share}, **rounded
    )
    kept = {name: int(mask.sum()) for name, mask in result.units.items()}
    return sc.shrink(result, x[:2]).model.eval(), kept


def timed(
    pair: tuple[nn.Module, nn.Module],
    x: Tensor,
    ratio: float,
    what: str,
    options: argparse.Namespace,
) -> list[str]:
    """A line for each number of threads and runtime."""
    lines = []
    for runtime in options.runtimes:
        for threads in options.threads:
            (row,) = compare_latency(
                *pair, x, threads=[threads], runtimes=[runtime], pairs=options.pairs, warmup=2,
                at_least=0.0 if runtime == "eager" else 5e-3,
                timer=processor_clock if threads == 1 else clock,
            )  # fmt: skip
            share = row.speedup.ratio / ratio
            lines.append(
                f"  {what}, {runtime}, {threads} thread{'s' * (threads > 1)}: "
                f"{1e3 * row.a:.1f} -> {1e3 * row.b:.1f} ms, {row.speedup}; MACs {ratio:.2f}x fewer; "
                f"{share:.2f} of the MAC ratio [{row.speedup.low / ratio:.2f}, "
                f"{row.speedup.high / ratio:.2f}] ({_verdict(row.speedup, ratio)})"
            )
    return lines


def _verdict(speedup: Interval, ratio: float) -> str:
    """Met where the whole interval is, missed where none of it is."""
    if speedup.low >= GOAL * ratio:
        return "met"
    return "missed" if speedup.high < GOAL * ratio else "unclear"


def lost(cost: LatencyCost, found: Structures, kept: Mapping[str, int]) -> str:
    """Where time goes, operator by operator, dense and smaller: one thread, measured alone."""
    axes = {axis.name: axis.var for axis in found}
    before, after = cost.operators(), cost.operators({axes[n]: range(k) for n, k in kept.items()})
    largest = sorted(before, key=lambda name: -before[name])[:6]
    parts = [
        f"{name} {before[name]:.1f} -> {after[name]:.1f} ms ({before[name] / after[name]:.2f}x)"
        for name in largest
    ]
    return "  by operator: " + ", ".join(parts)


def report(name: str, model: nn.Module, x: Tensor, options: argparse.Namespace) -> Iterator[str]:
    """Everything about one network."""
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    found = sc.trace(model, x)
    torch.set_num_threads(1)
    cost = latency_cost(model, x, found, timer=processor_clock)
    spots = sweet_spots(found, cost)
    yield f"{name}: {found.trace.macs() / 1e9:.2f} GMACs a batch of {BATCH}, {cost.dense:.1f} ms"
    yield f"  sweet spots: {spots.all}; wasted otherwise: " + ", ".join(
        f"{multiple}: {waste}" for multiple, waste in spots.all.waste.items()
    )
    for multiple in dict.fromkeys([1, spots.common, *options.multiples]):
        what = f"multiples of {multiple}" if multiple > 1 else "any width"
        small, kept = halved(model, x, options.method, multiple)
        vars_ = {axis.name: axis.var for axis in found}
        left = found.trace.macs({vars_[n]: range(k) for n, k in kept.items()})  # type: ignore[misc]
        ratio = found.trace.macs() / left
        if options.channels_last:
            small = small.to(memory_format=torch.channels_last)
        yield f"  widths: {', '.join(map(str, kept.values()))}"
        yield from timed((model, small), x, ratio, what, options)
        yield lost(cost, found, kept)
        if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
            pair = sc.fold_batch_norms(model, x[:2]), sc.fold_batch_norms(small, x[:2])
            yield from timed(pair, x, ratio, f"{what}, batch norms folded", options)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="group-norm", help="of the catalogue")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--only", default="", help="networks with this in their name")
    parser.add_argument("--runtimes", nargs="*", default=["eager"])
    parser.add_argument("--multiples", type=int, nargs="*", default=[], help="try these as well")
    parser.add_argument("--channels-last", action="store_true", help="memory format of both")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, goal {GOAL}")
    for network in networks():
        for line in report(*network, options) if options.only in network[0] else ():
            print(line, flush=True)


if __name__ == "__main__":
    main()
