"""What it gives to aim every layer at its dense output: SparseGPT with `refit` on the trained story model.

    python tools/refit_study.py

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text, and once more
on a quarter of the calibration text. One thread.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from stories260k import MODEL, OUT, TOKENS, load, stories

import secateur as sc
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

SEEDS, SHARES, SAMPLES = (0, 2), (0.0, 0.25, 0.5, 0.75, 1.0), (32, 8)
AMOUNTS: dict[str, dict[str, Any]] = {
    "50 %": {"sparsity": 0.5},
    "70 %": {"sparsity": 0.7},
    "2:4": {"pattern": "2:4"},
}
START, STOP = "<!-- made by tools/refit_study.py -->\n", "<!-- end -->"


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
    path = OUT / "refit.md"
    head, _, rest = path.read_text(encoding="utf-8").partition(START)
    _, _, tail = rest.partition(STOP)
    text = "\n".join(rows())
    path.write_text(f"{head}{START}{text}\n{STOP}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
