"""Searched densities beside equal ones and OWL's on the trained story model.

    python tools/evopress_study.py                    all that is not measured yet, then the page
    python tools/evopress_study.py wanda 70 0         one cell: a method, per cent removed, a draw

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
AMOUNTS = [("wanda", 50), ("wanda", 70)]


def cell(method: str, removed: int, seed: int) -> dict[str, Any]:
    """{way: figures} of one method at one amount, on one draw."""
    model, tokenizer = load(MODEL)
    held_out = stories(model, tokenizer, seed=1)
    sampling = Sampling(samples=32, length=TOKENS)
    data = calibrate(tokenizer, stories(model, tokenizer, seed), sampling).batches
    found: dict[str, Any] = {}
    for way, (of_owl, options) in WAYS.items():
        name = "owl" if way == "OWL" else method
        given = of_owl if name == "owl" and method == "sparsegpt" else options
        begun = time.process_time()
        result = sc.prune(
            copy.deepcopy(model), name, data=data, seed=seed, sparsity=removed / 100, walk="whole",
            **given,
        )  # fmt: skip
        seconds = time.process_time() - begun
        left = perplexity(result.model, tokenizer, held_out, batch_size=16).perplexity
        search = result.record.get("search")
        found[way] = {"perplexity": left, "seconds": seconds, "search": search}
        print(f"{method} {removed} % {way} {seed}: {left:.2f} in {seconds:.0f} s", flush=True)
    return found


def rows(cells: dict[str, Any]) -> list[str]:
    """The table, a line for each method and amount."""
    lines = [
        "| method | removed | equal shares | OWL | searched | KL before → after | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, removed in AMOUNTS:
        found = [cells[f"{method} {removed} {seed}"] for seed in SEEDS]
        each = [", ".join(f"{one[way]['perplexity']:.2f}" for one in found) for way in WAYS]
        searched = [one["searched"] for one in found]
        course = ", ".join(
            f"{one['search']['start']:.2f} → {one['search']['end']:.2f}" for one in searched
        )
        seconds = [one["seconds"] for one in searched]
        spent = f"{min(seconds):.0f} to {max(seconds):.0f}"
        lines.append(f"| `{method}` | {removed} % | {' | '.join(each)} | {course} | {spent} |")
    return lines


def figures() -> dict[str, Any]:
    """What is measured so far."""
    return dict(json.loads(FIGURES.read_text("utf-8"))) if FIGURES.exists() else {}


def main() -> None:
    """Measure what is asked for and is not there, and put the table in its place on the page."""
    torch.set_num_threads(1)
    every = [(*amount, seed) for amount in AMOUNTS for seed in SEEDS]
    asked = [(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))] if len(sys.argv) == 4 else every
    for method, removed, seed in asked:
        name = f"{method} {removed} {seed}"
        if name not in figures():
            found = {name: cell(method, removed, seed)}
            text = json.dumps({**figures(), **found}, indent=1, sort_keys=True)
            FIGURES.write_text(text + "\n", encoding="utf-8")
    if asked == every:
        put("evopress.md", "evopress_study.py", rows(figures()))


if __name__ == "__main__":
    main()
