"""What it gives to aim every layer at its dense output: SparseGPT with `refit` on the trained story model.

    python tools/refit_study.py

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text, and once more
on a quarter of the calibration text. One thread.
"""

from __future__ import annotations

import copy

import torch
from stories260k import MODEL, TOKENS, load, stories
from story_pages import AMOUNTS, SEEDS, put

import secateur as sc
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SHARES, SAMPLES = (0.0, 0.25, 0.5, 0.75, 1.0), (32, 8)


def rows() -> list[str]:
    """The table, a line for each amount of calibration text and share."""
    model, tokenizer = load(MODEL)
    held_out = stories(model, tokenizer, seed=1)
    texts = {seed: stories(model, tokenizer, seed) for seed in SEEDS}
    lines = [f"| samples | refit | {' | '.join(AMOUNTS)} |", "|---|---|---|---|---|"]
    for samples in SAMPLES:
        sampling = Sampling(samples=samples, length=TOKENS)
        data = [calibrate(tokenizer, texts[seed], sampling).batches for seed in SEEDS]
        for share in SHARES:
            cells = []
            for options in AMOUNTS.values():
                each = (
                    sc.prune(copy.deepcopy(model), "sparsegpt", data=d, refit=share, **options)
                    for d in data
                )
                found = [perplexity(r.model, tokenizer, held_out, batch_size=16) for r in each]
                cells.append(", ".join(f"{x.perplexity:.2f}" for x in found))
            lines.append(f"| {samples} | {share:g} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, and put the table in its place on the page."""
    torch.set_num_threads(1)
    put("refit.md", "refit_study.py", rows())


if __name__ == "__main__":
    main()
