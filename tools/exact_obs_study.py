"""Exact OBS beside SparseGPT on the trained story model.

    python tools/exact_obs_study.py

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text. One thread;
the time is the processor's, of the whole call of `prune`.
"""

from __future__ import annotations

import copy
import time

import torch
from stories260k import MODEL, TOKENS, load, stories
from story_pages import AMOUNTS, SEEDS, put

import secateur as sc
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity


def rows() -> list[str]:
    """The table, a line for each method."""
    model, tokenizer = load(MODEL)
    held_out = stories(model, tokenizer, seed=1)
    sampling = Sampling(samples=32, length=TOKENS)
    data = [calibrate(tokenizer, stories(model, tokenizer, s), sampling).batches for s in SEEDS]
    lines = [f"| method | {' | '.join(AMOUNTS)} | seconds |", "|---|---|---|---|---|"]
    for method in ("sparsegpt", "exact-obs"):
        cells, seconds = [], []
        for options in AMOUNTS.values():
            found = []
            for batches in data:
                begun = time.process_time()
                result = sc.prune(
                    copy.deepcopy(model), method, data=batches, walk="blocks", **options
                )
                seconds.append(time.process_time() - begun)
                found.append(perplexity(result.model, tokenizer, held_out, batch_size=16))
            cells.append(", ".join(f"{one.perplexity:.2f}" for one in found))
        spent = f"{min(seconds):.1f} to {max(seconds):.1f}"
        lines.append(f"| `{method}` | {' | '.join(cells)} | {spent} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, and put the table in its place on the page."""
    torch.set_num_threads(1)
    put("exact-obs.md", "exact_obs_study.py", rows())


if __name__ == "__main__":
    main()
