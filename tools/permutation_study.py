"""What an order of inputs gives N:M: `permute` on the trained story model.

    python tools/permutation_study.py

Calibrated and compared as in tools/stories260k.py, on two draws of the model's own text. One thread.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from stories260k import MODEL, TOKENS, load, stories
from story_pages import SEEDS, put

import secateur as sc
from secateur.basis import SpreadInputs
from secateur.core.recipe import Recipe
from secateur.structure import Weights
from secateur.text.calibration import Sampling, calibrate
from secateur.text.perplexity import perplexity

PATTERNS = ("2:4", "4:8")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "magnitude": ("nm", {"fine_tune": None, "walk": "blocks"}),
    "Wanda": ("wanda", {}),
    "RIA": ("ria", {}),
    "SparseGPT": ("sparsegpt", {}),
    "SparseGPT, refit 0.5": ("sparsegpt", {"refit": 0.5}),
}
ORDERS: dict[str, dict[str, Any] | None] = {
    "as it is": None,
    "neurons, values": {"residual": False},
    "and the residual stream": {},
}


def recipe(label: str, pattern: str, basis: dict[str, Any] | None) -> Recipe:
    """A method with a pattern, its inputs in an order as the basis' fields say."""
    method, options = METHODS[label]
    n, m = map(int, pattern.split(":"))
    given = {"n": n, "m": m} if method == "nm" else {"pattern": pattern}
    made = sc.recipe(method, **given, **options, permute=basis is not None)
    changed: dict[str, Any] = {"structure": Weights(inputs_multiple_of=m)}
    if made.basis is not None and basis is not None:
        changed["basis"] = SpreadInputs(**{**dict(made.basis), **basis})
    return Recipe(**{**dict(made), **changed})


class Study:
    """The model, its texts, and what a recipe makes of it."""

    def __init__(self) -> None:
        self.model, self.tokenizer = load(MODEL)
        self.held_out = stories(self.model, self.tokenizer, seed=1)
        texts = (stories(self.model, self.tokenizer, seed) for seed in SEEDS)
        sampling = Sampling(samples=32, length=TOKENS)
        self.data = [calibrate(self.tokenizer, text, sampling).batches for text in texts]

    def cell(self, what: Recipe) -> str:
        """Perplexities of both draws."""
        each = (sc.prune(copy.deepcopy(self.model), what, data=d).model for d in self.data)
        found = [perplexity(m, self.tokenizer, self.held_out, batch_size=16) for m in each]
        return ", ".join(f"{x.perplexity:.2f}" for x in found)

    def rows(self) -> list[str]:
        """The table by method and order."""
        lines = [
            f"| method | inputs in another order | {' | '.join(PATTERNS)} |",
            "|---|---|---|---|",
        ]
        for label in METHODS:
            for order, basis in ORDERS.items():
                cells = [self.cell(recipe(label, pattern, basis)) for pattern in PATTERNS]
                lines.append(f"| {label} | {order} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
        return lines


def main() -> None:
    """Measure, and put the table in its place on the page."""
    torch.set_num_threads(1)
    put("permutation.md", "permutation_study.py", Study().rows())


if __name__ == "__main__":
    main()
