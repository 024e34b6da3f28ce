"""LoRAPrune beside LLM-Pruner with LoRA on the trained story model, at the same sparsity and steps.

    python tools/loraprune_study.py --density 0.75
    python tools/loraprune_study.py --density 0.5

Trained on text the model samples itself at temperature 1, compared on other such text as in
tools/stories260k.py; two draws. One thread.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import torch
from stories260k import MODEL, load, stories
from story_pages import SEEDS, put
from torch import Tensor, nn

import secateur as sc
from secateur.core.recipe import Recipe
from secateur.criteria import CoupledTaylor, Random
from secateur.engine.train import AdamW, Training
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SAMPLES, TOKENS, BATCH, STEPS = 384, 128, 8, 240
WHOLE = {"first": 0, "last": 0}
TRAINING = Training(
    length=f"{STEPS}it", batch_size=BATCH, optimiser=AdamW(), lr=1e-3, weight_decay=0.0, clip=1.0
).constant(sc.Time(STEPS, "it"), 1.0)


def ramp(density: float, criterion: Any) -> Recipe:
    """LoRAPrune's schedule and adapters with another criterion."""
    made = sc.recipe("loraprune", density=density, **WHOLE)
    return Recipe(**{**dict(made), "criterion": criterion, "method": "custom"})


def recipes(density: float) -> dict[str, Recipe]:
    """What is compared: name -> recipe."""
    pruner = {"density": density, **WHOLE}
    return {
        "`llm-pruner`": sc.recipe("llm-pruner", **pruner),
        "`llm-pruner`, LoRA after it": sc.recipe("llm-pruner", lora=f"{STEPS}it", **pruner),
        "`loraprune`": sc.recipe("loraprune", **pruner),
        "`loraprune`, the paper's formula": sc.recipe(
            "loraprune", order="squared", balanced=False, **pruner
        ),
        "the same ramp, true gradients of 32 samples at each update": ramp(
            density, CoupledTaylor(order="first")
        ),
        "the same ramp, by chance": ramp(density, Random()),
    }


class Study:
    """The model, its texts, and what a recipe makes of it."""

    def __init__(self) -> None:
        self.model, self.tokenizer = load(MODEL)
        self.model.config.use_cache = False
        self.held_out = stories(self.model, self.tokenizer, seed=1)
        self.data = [self._drawn(seed) for seed in SEEDS]

    def _drawn(self, seed: int) -> dict[str, Tensor]:
        """[samples, tokens] of the model's own text."""
        texts = stories(self.model, self.tokenizer, seed, count=256)
        sampling = Sampling(samples=SAMPLES, length=TOKENS)
        batches = calibrate(self.tokenizer, texts, sampling).batches
        ids = torch.cat([batch["input_ids"] for batch in batches])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    def cell(self, what: Recipe) -> str:
        """Perplexities of both draws."""
        return ", ".join(f"{self.figure(self.pruned(what, data)):.3f}" for data in self.data)

    def pruned(self, what: Recipe, data: dict[str, Tensor]) -> nn.Module:
        """The smaller model."""
        example = {name: rows[:2] for name, rows in data.items() if name != "labels"}
        single = [{name: rows[i : i + 1] for name, rows in data.items()} for i in range(32)]
        result = sc.prune(
            copy.deepcopy(self.model), what, data=data, calibration=single, example=example,
            training=TRAINING, trained=True,
        )  # fmt: skip
        return sc.shrink(result, example).model

    def figure(self, model: nn.Module) -> float:
        """Perplexity on text of another draw."""
        return perplexity(model, self.tokenizer, self.held_out, batch_size=16).perplexity

    def rows(self, density: float) -> list[str]:
        """The table."""
        lines = ["| method | perplexity | processor, s |", "|---|---|---|"]
        for label, what in recipes(density).items():
            began = time.process_time()
            cell = self.cell(what)
            seconds = (time.process_time() - began) / len(SEEDS)
            lines.append(f"| {label} | {cell} | {seconds:.0f} |")
            print(lines[-1], flush=True)
        return lines


def main() -> None:
    """Measure one density and put the table on its page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--density", type=float, required=True)
    density = parser.parse_args().density
    torch.set_num_threads(1)
    put("loraprune.md", f"loraprune_study.py --density {density:g}", Study().rows(density))


if __name__ == "__main__":
    main()
