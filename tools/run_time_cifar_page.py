"""Times of the gated ResNet-20 and of one wide layer, and the page of all figures.

    python tools/run_time_cifar_page.py

One thread, seconds of the processor, in alternation; run_time_cifar_study.py has made the networks.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from evopress_cifar_study import normalised, resnet
from run_time_cifar_study import FIGURES, gated
from torch import Tensor, nn

import secateur as sc
from secateur.core.random import generator
from secateur.data import load
from secateur.dynamic import ChannelGate

ROUNDS, PAGE = 60, FIGURES.parent / "README.md"


@torch.no_grad()
def times(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Name -> median processor seconds of a call, the ways in turn."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            found[name].append(time.process_time() - begun)
    return {name: statistics.median(taken) for name, taken in found.items()}


def of_network(x: Tensor) -> dict[str, Any]:
    """The trained ResNet-20 and the gated one at half density, one image and 32."""
    dense, made = resnet(), sc.load(gated("fbs 0.5")).eval()
    with torch.no_grad():
        one = torch.cat([made(image[None]) for image in x[:64]])
        gap = float((one - made(x[:64])).abs().max())
    ways = {
        f"{n}, {k}": _call(net, x[:k])
        for n, net in (("dense", dense), ("gated", made))
        for k in (1, 32)
    }
    return {"difference": gap, "seconds": times(ways)}


def of_layer(width: int, side: int) -> dict[str, float]:
    """One convolution with its norm, and behind a gate that lets a half and a quarter through."""
    conv, norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
    x = torch.randn(1, width, side, side, generator=generator(0, "x"))
    half = x.clone()
    half[:, ::2] = 0
    ways: dict[str, Callable[[], object]] = {"dense": _call(nn.Sequential(conv, norm).eval(), x)}
    for name, k, given in (("half", width // 2, x), ("half of half", width // 2, half)):
        gate = ChannelGate(conv, norm, lambda *words: generator(0, *words)).eval()
        gate.keep.fill_(k)
        ways[name] = _call(gate, given)
    return times(ways)


def _call(net: nn.Module, x: Tensor) -> Callable[[], object]:
    return lambda: net.eval()(x)


def page(found: dict[str, Any]) -> str:
    """The page, every number from the figures."""
    rows = [
        "| network | accuracy | MACs of one image, mean ± deviation | at worst |",
        "|---|---|---|---|",
    ]
    whole = found["dense"]["macs"]
    for name, told in found.items():
        if name == "times":
            continue
        if "work" in told:
            n = told["work"]["needed"]
            macs = (
                f"{n['mean'] / whole:.1%} ± {n['deviation'] / whole:.2%} | {n['most'] / whole:.1%}"
            )
        else:
            macs = f"{told['macs'] / whole:.1%} ± 0 | {told['macs'] / whole:.1%}"
        rows.append(f"| {name} | {told['accuracy']:.1f} % | {macs} |")
    return "\n".join([*HEAD, *rows, "", *_by_layer(found), "", *_time_rows(found["times"])]) + "\n"


def _by_layer(found: dict[str, Any]) -> list[str]:
    layers = found["fbs 0.5"]["work"]["layers"]
    rows = [
        "`fbs 0.5` by layer, of its own dense MACs:",
        "",
        "| layer | needed | at worst | units used |",
        "|---|---|---|---|",
    ]
    for name, work in layers.items():
        done, used, whole = work["done"], work["used"], work["dense"]
        rows.append(
            f"| `{name}` | {done['mean'] / whole:.1%} ± {done['deviation'] / whole:.1%} | "
            f"{done['most'] / whole:.1%} | {used['mean']:.1f} ± {used['deviation']:.1f} of {work['units']} |"
        )
    return rows


def _time_rows(times: dict[str, Any]) -> list[str]:
    net = times["network"]
    rows = [
        f"One image at a time differs from the batch by {net['difference']:.1e} at most (logits, 64 images).",
        "",
        "| what | milliseconds | of the dense one |",
        "|---|---|---|",
    ]
    for k in ("1", "32"):
        dense, made = (net["seconds"][f"{n}, {k}"] for n in ("dense", "gated"))
        rows += [
            f"| ResNet-20 dense, images at a time: {k} | {1000 * dense:.2f} | 1 |",
            f"| `fbs 0.5`, images at a time: {k} | {1000 * made:.2f} | {made / dense:.2f} |",
        ]
    for name, told in times["layers"].items():
        rows.append(f"| one layer of {name}, dense | {1000 * told['dense']:.2f} | 1 |")
        for way, words in (
            ("half", "half of its outputs"),
            ("half of half", "half of its outputs, half of its inputs zero"),
        ):
            rows.append(
                f"| the same gated, {words} | {1000 * told[way]:.2f} | {told[way] / told['dense']:.2f} |"
            )
    return rows


HEAD = [
    "# Channels chosen for every image",
    "",
    "The trained ResNet-20, trained on for 4 epochs with the 6,068 training images of the lossless subset,",
    "without augmentation, in each row but the first; 1,017 test images, one seed: differences of about two",
    "points are noise. `filters` are taken out for good (`l1-filters`), of the channels that `fbs` gates:",
    "those within blocks. In so brief a training `fbs`, whose gates begin at random, is behind them at equal",
    "work; the paper trains far longer. `fbs 1` leaves out what has no saliency. Shares are of the dense",
    "network. Made by tools/run_time_cifar_study.py and tools/run_time_cifar_page.py. Times:",
    "one thread, seconds of the processor, medians in alternation, while other programs ran: upper bounds.",
    "Gates that slice cost more than they save where layers are as narrow as here; they save in wide ones.",
    "",
]


def main() -> None:
    """Time what is there, and write the page."""
    torch.set_num_threads(1)
    found = json.loads(FIGURES.read_text())
    x = normalised(load("cifar10").test.images)
    layers = {
        f"{w} channels on {s} × {s}": of_layer(w, s) for w, s in ((64, 8), (256, 16), (512, 14))
    }
    found["times"] = {"network": of_network(x), "layers": layers}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
