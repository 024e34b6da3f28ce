"""Channels of the trained ResNet-20 at half and at 70 % of its MACs: equal, by scores, and searched for.

    python tools/searched_budget_study.py [way …]

Filters go by the sum of their absolute weights (`l1-filters`) in every row, and nothing is trained. Searches
see 256 training images, another 256 for each seed. One thread; seconds are the processor's.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from evopress_cifar_study import accuracy, normalised, resnet
from torch import Tensor, nn

import secateur as sc
from secateur.core.random import generator
from secateur.data import load

SEEDS, SCORED, BUDGETS = (0, 1, 2), 256, ("50%", "70%")
OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "structured"
FIGURES, PAGE = OUT / "searched.json", OUT / "searched.md"
STAGES = [[64, 3], [256, 1]]
WAYS: dict[str, dict[str, Any]] = {
    "equal shares": {},
    "all layers compared": {"across": True},
    "evolution": {
        "search": {"name": "evolution", "generations": 30, "offspring": 12, "stages": STAGES}
    },
    "amc": {"search": "amc"},
}
"""Options beside the budget; those with a search are run for every seed."""


def measure(found: dict[str, Any], ways: list[str]) -> None:
    """Every figure that is not there yet, kept as soon as it is."""
    dense, data = resnet(), load("cifar10")
    x, y = normalised(data.test.images), data.test.labels
    keep(found, "dense", {"accuracy": accuracy(dense, x, y), "images": len(y)})
    for way, budget in product(ways, BUDGETS):
        for seed in SEEDS if "search" in WAYS[way] else SEEDS[:1]:
            if f"{budget} {way} {seed}" in found:
                continue
            few = torch.randperm(len(data.train.labels), generator=generator(seed, "study"))[
                :SCORED
            ]
            images, labels = normalised(data.train.images[few]), data.train.labels[few]
            batches = list(zip(images.split(64), labels.split(64), strict=True))
            recipe = sc.recipe("l1-filters", budget={"macs": budget}, **WAYS[way])
            keep(found, f"{budget} {way} {seed}", one(dense, recipe, batches, seed, x, y))


def one(
    dense: nn.Module, recipe: sc.Recipe, batches: list[Any], seed: int, x: Tensor, y: Tensor
) -> dict[str, Any]:
    """A way of sharing out and what came of it."""
    begun = time.process_time()
    result = sc.prune(dense, recipe, example=x[:1], data=batches, trained=True, seed=seed)
    seconds = time.process_time() - begun
    spent = result.record["budget"]["macs"]
    return {
        "seconds": seconds, "accuracy": accuracy(result.model, x, y),
        "macs": spent["left"] / spent["whole"],
        "widths": {name: int(mask.sum()) for name, mask in result.units.items()},
        "search": result.record.get("search"),
    }  # fmt: skip


def keep(found: dict[str, Any], name: str, told: dict[str, Any]) -> None:
    """Remember a figure, on the disk too."""
    found[name] = told
    print(name, told, flush=True)
    FIGURES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def rows(found: dict[str, Any]) -> list[str]:
    """The table."""
    lines = [
        "| budget | widths | accuracy, % | MACs left, % | channels left | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for budget, way in product(BUDGETS, WAYS):
        names = [f"{budget} {way} {seed}" for seed in SEEDS]
        each = [found[name] for name in names if name in found]
        if each:
            widths = [sum(e["widths"].values()) for e in each]
            cells = [
                budget.replace("%", " %"),
                way,
                ", ".join(f"{e['accuracy']:.1f}" for e in each),
                ", ".join(f"{100 * e['macs']:.1f}" for e in each),
                ", ".join(map(str, widths)),
                f"{max(e['seconds'] for e in each):.0f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure, keep the figures, and put the table in its place on the page."""
    torch.set_num_threads(1)
    found = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    measure(found, sys.argv[1:] or list(WAYS))
    if PAGE.exists():
        head, _, rest = PAGE.read_text("utf-8").partition("<!-- table -->\n")
        _, _, tail = rest.partition("<!-- end -->")
        table = "\n".join(rows(found))
        PAGE.write_text(f"{head}<!-- table -->\n{table}\n<!-- end -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
