"""EarlyBERT's tickets on a small vision transformer: python tools/earlybert_study.py

From scratch on the embedded digits, three seeds. A ticket is searched for and trained anew; beside it
tickets by chance of the same size, and the whole network. One thread.
"""

from __future__ import annotations

from statistics import mean
from typing import Any

import torch
from torch import Tensor

import secateur as sc
from secateur.core.recipe import Recipe
from secateur.criteria import Random
from secateur.data import load
from secateur.engine.train import AdamW, OneCycle, Training
from secateur.models import build_seeded
from secateur.schedule import OneShot

SEEDS = (0, 1, 2)
SHAPE = {"patch": 4, "dim": 48, "depth": 3, "heads": 6}
TRAINING = Training(
    length="40ep", batch_size=64, lr=2e-3, weight_decay=0.05, decay_norms=False, schedule=OneCycle(),
    optimiser=AdamW(), clip=1.0,
)  # fmt: skip

Data = tuple[Tensor, Tensor]


def tickets(density: float) -> dict[str, Recipe]:
    """What is compared at one density: name -> recipe."""
    bert = sc.recipe("earlybert", density=density)
    chance = {
        "criterion": Random(), "gate": None, "recovery": None, "method": "custom",
        "schedule": OneShot(density=density, at="0it"),
    }  # fmt: skip
    return {
        "`earlybert`": bert,
        "by chance": Recipe(**{**dict(bert), **chance}),
    }


class Study:
    """The digits, and what a recipe makes of a new network."""

    def __init__(self) -> None:
        found = load("digits")
        self.train, self.test = (self._scaled(found.train), self._scaled(found.test))

    @staticmethod
    def _scaled(part: Any) -> Data:
        images = part.images.float()
        return images / images.max(), part.labels

    def run(self, recipe: Recipe, seed: int) -> dict[str, Any]:
        """The last point of a run."""
        model = build_seeded("vit", seed, num_classes=10, in_channels=1, image_size=8, **SHAPE)
        x, _ = self.train
        result = sc.prune(
            model,
            recipe,
            data=self.train,
            test=self.test,
            example=x[:2],
            training=TRAINING,
            seed=seed,
        )
        last: dict[str, Any] = result.record["points"][-1]
        return last

    def row(self, label: str, stays: str, recipe: Recipe) -> str:
        """A line of the table."""
        found = [self.run(recipe, seed) for seed in SEEDS]
        each = [100 * point["test"]["accuracy"] for point in found]
        steps = [str(p.get("settled") or "–") for p in found] if recipe.gate else ["–"]
        cells = (
            label,
            stays,
            f"{mean(each):.2f} ({', '.join(f'{a:.2f}' for a in each)})",
            ", ".join(steps),
        )
        line = f"| {' | '.join(cells)} |"
        print(line, flush=True)
        return line


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    study = Study()
    print("| ticket | heads and neurons | top-1 in % | drawn at step |\n|---|---|---|---|")
    study.row("the whole network", "all", sc.recipe("dense"))
    for density in (0.25,):
        for label, recipe in tickets(density).items():
            study.row(label, f"{100 * density:.0f} %", recipe)


if __name__ == "__main__":
    main()
