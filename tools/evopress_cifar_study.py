"""Searched densities beside other ways of sharing out on the trained ResNet-20.

    python tools/evopress_cifar_study.py

The largest weights stay, nothing is trained; the search sees 256 training images without labels, another
256 for each seed. One thread; seconds are the processor's.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from stories260k import OUT
from story_pages import put
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import Erk
from secateur.core.random import generator
from secateur.data import data_root, load
from secateur.models import build_seeded, load_weights

SEEDS, SCORED = (0, 1), 256
REMOVED = (70, 80)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEARCH = {"name": "evolution", "generations": 30, "offspring": 12, "stages": [[32, 3], [128, 1]]}
FIGURES = OUT / "evopress-cifar.json"


def resnet() -> nn.Module:
    """The trained network."""
    root = data_root()
    assert root is not None, "set SECATEUR_DATA"
    dense = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    return load_weights(dense, root.parent / "models" / "cifar10-resnet20.safetensors").eval()


def normalised(images: Tensor) -> Tensor:
    """Bytes as the network takes them."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (MEAN, STD))
    return (images / 255 - mean) / std


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of right answers."""
    model.eval()
    parts = zip(x.split(250), y.split(250), strict=True)
    return 100 * sum(int((model(a).argmax(1) == b).sum()) for a, b in parts) / len(y)


def recipes(removed: int) -> dict[str, sc.Recipe]:
    """The same weights are worth most in all of them."""
    sparsity = removed / 100
    even = sc.recipe("magnitude-layerwise", sparsity=sparsity)
    return {
        "equal shares": even,
        "ERK": even.model_copy(update={"allocator": Erk()}),
        "all layers compared": sc.recipe("magnitude", sparsity=sparsity),
        "searched": sc.recipe("magnitude-layerwise", sparsity=sparsity, search=SEARCH),
    }


def measure(found: dict[str, Any]) -> None:
    """Every figure that is not there yet, kept as soon as it is."""
    dense, data = resnet(), load("cifar10")
    x, y = normalised(data.test.images), data.test.labels
    keep(found, "dense", {"accuracy": accuracy(dense, x, y), "images": len(y)})
    for removed in REMOVED:
        for way, recipe in recipes(removed).items():
            for seed in SEEDS if way == "searched" else SEEDS[:1]:
                name = f"{removed} {way} {seed}"
                if name in found:
                    continue
                drawn = torch.randperm(len(data.train.labels), generator=generator(seed, "study"))
                few = normalised(data.train.images[drawn[:SCORED]]).split(64)
                begun = time.process_time()
                result = sc.prune(dense, recipe, data=list(few), trained=True, seed=seed)
                told = {"seconds": time.process_time() - begun}
                told["accuracy"] = accuracy(result.model, x, y)
                keep(found, name, {**told, "search": result.record.get("search")})


def keep(found: dict[str, Any], name: str, told: dict[str, Any]) -> None:
    """Remember a figure, on the disk too."""
    found[name] = told
    print(name, told, flush=True)
    FIGURES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def rows(found: dict[str, Any]) -> list[str]:
    """The table."""
    lines = [f"| densities | {' | '.join(f'{r} %' for r in REMOVED)} |", "|---|---|---|"]
    for way in recipes(REMOVED[0]):
        seeds = SEEDS if way == "searched" else SEEDS[:1]
        each = [
            ", ".join(f"{found[f'{r} {way} {seed}']['accuracy']:.1f}" for seed in seeds)
            for r in REMOVED
        ]
        lines.append(f"| {way} | {' | '.join(each)} |")
    return lines


def main() -> None:
    """Measure, keep the figures, and put the table in its place on the page."""
    torch.set_num_threads(1)
    found = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    measure(found)
    put("evopress.md", "evopress_cifar_study.py", rows(found))


if __name__ == "__main__":
    main()
