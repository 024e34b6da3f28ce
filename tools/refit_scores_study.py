"""What `refit` gives methods that choose by scores and repair nothing, on the trained story model.

    python tools/refit_scores_study.py

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text. One thread.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from stories260k import MODEL, TOKENS, load, stories
from story_pages import SEEDS, put

import secateur as sc
from secateur.core.recipe import Recipe
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SHARES, AMOUNTS = (0.0, 0.5, 1.0), ("50 %", "70 %", "2:4")
METHODS = {"magnitude": "magnitude-layerwise", "Wanda": "wanda", "RIA": "ria"}


def recipe(label: str, amount: str, share: float) -> Recipe:
    """A method with an amount and a share of the shift."""
    if amount == "2:4" and label == "magnitude":
        return sc.recipe("nm", fine_tune=None, walk="blocks", refit=share)
    if amount == "2:4":
        return sc.recipe(METHODS[label], pattern=amount, refit=share)
    sparsity = float(amount.removesuffix(" %")) / 100
    return sc.recipe(METHODS[label], sparsity=sparsity, walk="blocks", refit=share)


def rows() -> list[str]:
    """The table, a line for each method and share."""
    model, tokenizer = load(MODEL)
    held_out = stories(model, tokenizer, seed=1)
    sampling = Sampling(samples=32, length=TOKENS)
    texts = (stories(model, tokenizer, seed) for seed in SEEDS)
    data: list[Any] = [calibrate(tokenizer, text, sampling).batches for text in texts]
    lines = [f"| method | refit | {' | '.join(AMOUNTS)} |", "|---|---|---|---|---|"]
    for label in METHODS:
        for share in SHARES:
            cells = []
            for amount in AMOUNTS:
                what = recipe(label, amount, share)
                each = (sc.prune(copy.deepcopy(model), what, data=d).model for d in data)
                found = [perplexity(m, tokenizer, held_out, batch_size=16) for m in each]
                cells.append(", ".join(f"{x.perplexity:.2f}" for x in found))
            lines.append(f"| {label} | {share:g} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, and put the table in its place on the page."""
    torch.set_num_threads(1)
    put("refit.md", "refit_scores_study.py", rows())


if __name__ == "__main__":
    main()
