"""The table of `structured.py` as a page."""

from __future__ import annotations

from pathlib import Path
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
VIT = """
## Attention heads

ResNet-20 has none, so these are of a ViT with 4 blocks of 6 heads, trained on the 8 x 8 digits for 30 epochs
to {dense:.2f} % of its test images. Half of its heads go, over all blocks; the rest of a block keeps its
MACs, so that this cannot halve them. Fine-tuned for 5 epochs by AdamW with one cycle up to 0.001 (the dense
one ends at {tuned:.2f} % so).

| method | kept | MACs | parameters | pruned | fine-tuned | faster by |
|---|---|---|---|---|---|---|
"""


def write(done: Rows, folder: Path) -> None:
    """The page beside the numbers."""
    (folder / "structured.md").write_text(page(done))


def page(done: Rows) -> str:
    """The tables as Markdown; of networks that have no row yet, nothing."""
    parts = []
    for network, head in (("resnet20", HEAD), ("vit", VIT)):
        rows = {
            label: r for label, r in done.items()
            if r["network"] == network and r["method"] != "dense"
        }  # fmt: skip
        if rows:
            dense = done[f"dense {network}"]
            parts.append(head.format(dense=100 * dense["pruned"], tuned=100 * dense["tuned"]))
            parts += [line(label, r) for label, r in rows.items()]
    return "".join(parts)


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
