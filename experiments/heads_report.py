"""The tables of `heads.py` as a page."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

Rows = dict[str, dict[str, dict[str, Any]]]
"""method -> seed -> what was measured."""

HEAD = """# Heads, neurons and layers of a vision transformer

A ViT of 6 blocks with 4 heads of 16 and 128 neurons, width 64, on 64 tokens that two stages of convolutions make
(220,002 parameters, 16.8 million MACs), trained from scratch on the 50,000 JPEG images of CIFAR-10 for 4 epochs by
AdamW with one cycle up to 0.002, flips and crops, from labels and a trained ResNet-20's outputs together (share 0.7
at temperature 3). It gets 60.97 % of the 10,000 JPEG test images: trained, but far from the end of its training.
Of the first 4,000, on which all below is tested and where the sample alone is worth ±1.5 points, it gets {dense}.

Each method prunes it on 256 training images; then every network is fine-tuned for 75 steps of 64 images (AdamW,
one cycle up to 0.0005, labels alone), which takes the dense network to {tuned}. That is a short training: it shows
how fast a network comes back, not how far.

Mean ± standard deviation over the seeds, of which each row says how many it has; a seed draws the images to score
on, those to fine-tune on and their order, and what goes at random. One network was trained: the deviation says
nothing of others. `faster by`: the dense network's time over this one's at batch 16, one thread, interleaved
pairs, on two cores shared with much other work: the range over the seeds, which is wide. `python experiments/heads.py docs/results/structured` makes what is missing in
`heads.json`, and this page.
"""
SECTIONS = {
    "heads": """
## Half of the heads

12 of 24 go, over all blocks, and one of each block stays; `random` takes two of each block.
""",
    "neurons": """
## Half of the neurons

384 of 768 go: the same share of each block for `random`, `l1-filters` and `channel-lasso`, over all blocks for
the others. `channel-lasso` refits what reads the neurons.
""",
    "layers": """
## Two of six blocks

`influence` needs no labels; the others measure the loss without each block.
""",
}
COLUMNS = """
| method | MACs | parameters | pruned | fine-tuned | faster by | seeds |
|---|---|---|---|---|---|---|
"""


def write(done: dict[str, Rows], folder: Path) -> None:
    """The page beside the numbers."""
    (folder / "heads.md").write_text(page(done))


def page(done: dict[str, Rows]) -> str:
    """The tables as Markdown; of kinds that have no row yet, nothing."""
    dense = done["dense"]["dense"]
    words = {"dense": percent(dense, "pruned"), "tuned": percent(dense, "tuned")}
    parts = [HEAD.format(**words)]
    for kind, text in SECTIONS.items():
        if kind in done:
            parts += [text, COLUMNS, *(line(label, rows) for label, rows in done[kind].items())]
    return "".join(parts)


def percent(rows: dict[str, dict[str, Any]], what: str) -> str:
    """Mean ± deviation over the seeds."""
    values = [100 * row[what] for row in rows.values()]
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{mean(values):.1f}" + (f" ± {spread:.1f} %" if spread else " %")


def share(rows: dict[str, dict[str, Any]], what: str) -> str:
    """What is left on average."""
    return f"{mean(row[what][1] / row[what][0] for row in rows.values()):.3f}"


def line(label: str, rows: dict[str, dict[str, Any]]) -> str:
    """One method."""
    faster = [f"{f(row['latency']['speedup'] for row in rows.values()):.2f}" for f in (min, max)]
    cells = [
        f"`{label}`", share(rows, "macs"), share(rows, "parameters"), percent(rows, "pruned"),
        percent(rows, "tuned"), " to ".join(dict.fromkeys(faster)), str(len(rows)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"
