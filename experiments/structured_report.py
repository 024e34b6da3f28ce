"""The table of `structured.py` as a page."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

Rows = dict[str, dict[str, Any]]

HEAD = """# Structured methods at half the MACs

ResNet-20 trained on CIFAR-10: {dense:.2f} % of the 1,017 lossless test images, where at 90 % the sample
alone is worth ±2 points and at 50 % ±3. Each method prunes it once, on the same 128 training images, to 47
to 50 % of its MACs (channels inside the blocks; residual blocks go whole, and to what they can), one seed.
Then every network gets the same fine-tuning: 3 epochs over the 6,068 lossless training images with flips and
crops, batches of 64, SGD with one cycle up to a rate of 0.02, in bfloat16. The dense network ends at
{tuned:.2f} % so. That is a short training: it shows how fast a network comes back, not how far.

Methods that train under a pressure first do so for the same 3 epochs, dense; that is training the others
do not have, and their strengths are far above the papers' for hundreds of epochs; `from` says where it
left them. Rows of 8 rounds train for 24 steps after each (2 epochs in all), so that `pruned` is not before
any training there; those of 16 rounds recalibrate batch norms after each; their densities are fixed, and
their MACs as near to half as that comes. `faster by`: the dense network's time over this one's at batch 16,
one thread, interleaved pairs with the 95 % interval, on two cores shared with much other work.
`python experiments/structured.py docs/results/structured` makes what is missing in `structured.json`, and
this page.

| method | kept | MACs | parameters | pruned | fine-tuned | faster by |
|---|---|---|---|---|---|---|
"""
SEEDS = """
## Several seeds

The same again with other images to score on, another order of fine-tuning and other chances: mean ± standard
deviation over the seeds made. What needs no data prunes the same network every time, so that `pruned` has no
deviation there. `python experiments/structured.py docs/results/structured --seed 1` makes those of a seed.

| method | MACs | pruned | fine-tuned | seeds |
|---|---|---|---|---|
"""


def write(folder: Path) -> None:
    """The page beside the numbers."""
    files = [folder / name for name in ("structured.json", "seeds.json")]
    (folder / "structured.md").write_text(
        page(*(json.loads(f.read_text()) if f.exists() else {} for f in files))
    )


def page(done: Rows, seeds: dict[str, Rows]) -> str:
    """The tables as Markdown."""
    dense = done["dense"]
    parts = [HEAD.format(dense=100 * dense["pruned"], tuned=100 * dense["tuned"])]
    parts += [line(label, row) for label, row in done.items() if label != "dense"]
    if seeds:
        again = {label: [done[label], *rows.values()] for label, rows in seeds.items()}
        parts += [SEEDS, *(seeded(label, rows) for label, rows in again.items())]
    return "".join(parts)


def seeded(label: str, rows: list[dict[str, Any]]) -> str:
    """One method over its seeds."""
    left = [row["macs"][1] / row["macs"][0] for row in rows] if "macs" in rows[0] else [1.0]
    cells = [
        f"`{label}`", f"{mean(left):.3f}", spread(rows, "pruned"), spread(rows, "tuned"),
        str(len(rows)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def spread(rows: list[dict[str, Any]], what: str) -> str:
    """Mean ± deviation."""
    values = [100 * row[what] for row in rows]
    return f"{mean(values):.2f} ± {stdev(values):.2f} %"


def line(label: str, row: dict[str, Any]) -> str:
    """One row."""
    given = ", ".join(f"{k} {v:g}" for k, v in row["options"].items() if isinstance(v, float))
    faster = row["latency"]
    cells = [
        f"`{label}`" + (f", {given}" if given else ""),
        f"{100 * row['density']:.0f} %",
        f"{row['macs'][1] / row['macs'][0]:.3f}",
        f"{row['parameters'][1] / row['parameters'][0]:.3f}",
        f"{100 * row['pruned']:.2f} %"
        + (f" from {100 * row['pushed']:.2f} %" if "pushed" in row else ""),
        f"{100 * row['tuned']:.2f} %",
        f"{faster['speedup']:.2f} ({faster['low']:.2f} to {faster['high']:.2f})",
    ]
    return f"| {' | '.join(cells)} |\n"
