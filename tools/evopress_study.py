"""Searched densities beside equal ones and OWL's on the trained story model.

    python tools/evopress_study.py                    all that is not measured yet, then the page
    python tools/evopress_study.py wanda 70           one cell of the table: a method, per cent removed

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text; the search is
seeded like the draw. Everything is judged on the dense network's statistics (`walk="whole"`). One thread;
seconds are the processor's, of the whole call of `prune`.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from typing import Any

import torch
from stories260k import MODEL, OUT, TOKENS, load, stories
from story_pages import SEEDS, put

import secateur as sc
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

FIGURES = OUT / "evopress.json"
SEARCH = {
    "name": "evolution", "generations": 60, "offspring": 16, "stages": [[2, 4], [8, 2], [32, 1]],
}  # fmt: skip
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "equal": ({}, {}),
    "OWL": ({"reconstruct": True}, {}),
    "searched": ({}, {"search": SEARCH}),
}
"""How densities are shared out -> what OWL's method is told for SparseGPT, what the method itself is."""
CELLS = [(method, removed) for method in ("wanda", "sparsegpt") for removed in (50, 70)]


def cell(method: str, removed: int) -> dict[str, Any]:
    """{way: [figures of each draw]} of one method at one amount."""
    model, tokenizer = load(MODEL)
    held_out = stories(model, tokenizer, seed=1)
    sampling = Sampling(samples=32, length=TOKENS)
    found: dict[str, Any] = {way: [] for way in WAYS}
    for seed in SEEDS:
        data = calibrate(tokenizer, stories(model, tokenizer, seed), sampling).batches
        for way, (of_owl, options) in WAYS.items():
            name = "owl" if way == "OWL" else method
            if name == "owl" and method == "sparsegpt":
                options = of_owl
            begun = time.process_time()
            result = sc.prune(
                copy.deepcopy(model), name, data=data, seed=seed, sparsity=removed / 100,
                walk="whole", **options,
            )  # fmt: skip
            seconds = time.process_time() - begun
            left = perplexity(result.model, tokenizer, held_out, batch_size=16).perplexity
            figures = {
                "perplexity": left,
                "seconds": seconds,
                "search": result.record.get("search"),
            }
            found[way].append(figures)
            print(f"{method} {removed} % {way} {seed}: {left:.2f} in {seconds:.0f} s", flush=True)
    return found


def rows(cells: dict[str, Any]) -> list[str]:
    """The table, a line for each method and amount."""
    lines = [
        "| method | removed | equal shares | OWL | searched | KL before → after | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in cells.items():
        method, _, removed = name.partition(" ")
        each = [", ".join(f"{one['perplexity']:.2f}" for one in found[way]) for way in WAYS]
        searched = found["searched"]
        course = ", ".join(
            f"{one['search']['start']:.2f} → {one['search']['end']:.2f}" for one in searched
        )
        seconds = [one["seconds"] for one in searched]
        spent = f"{min(seconds):.0f} to {max(seconds):.0f}"
        lines.append(f"| `{method}` | {removed} % | {' | '.join(each)} | {course} | {spent} |")
    return lines


def main() -> None:
    """Measure what is asked for, and put the table in its place on the page."""
    torch.set_num_threads(1)
    asked = [(sys.argv[1], int(sys.argv[2]))] if len(sys.argv) == 3 else CELLS
    for method, removed in asked:
        known = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
        if f"{method} {removed}" not in known:
            found = cell(method, removed)
            known = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
            known[f"{method} {removed}"] = found
            FIGURES.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    names = [f"{method} {removed}" for method, removed in CELLS]
    if asked == CELLS:
        put("evopress.md", "evopress_study.py", rows({n: known[n] for n in names}))


if __name__ == "__main__":
    main()
