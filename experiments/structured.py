"""Structural methods on the trained ResNet-20 at half the MACs: python experiments/structured.py OUT

Every method prunes the same network, on the same 128 training images, to between 47 and 50 % of its
MACs; the units are taken out (`secateur.shrink`, which proves that
nothing else changed), and the smaller network is fine-tuned as any network is. Writes
OUT/structured.json and OUT/structured.md after every method; one that is there already is not run again.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.data import data_root, load
from secateur.engine.recalibrate import recalibrate
from secateur.engine.train import SGD, Constant, Training
from secateur.models import build_seeded, load_weights

METHODS: dict[str, dict[str, Any]] = {
    "random-channels": {},
    "l1-filters": {},
    "thinet": {},
    "taylor-2017": {},
    "channel-lasso": {},
    "fpgm": {},
    "taylor-2019": {},
    "hrank": {},
    "group-norm": {"kinds": ("channels",)},
    "sosp": {},
    "fisher-channels": {},
    "l2-filters": {},
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINE_TUNING = Training(
    length=sc.Time(1, "ep"), lr=0.01, schedule=Constant(), optimiser=SGD(nesterov=True)
)
SCORING, TUNING = 128, 2048


def images() -> dict[str, tuple[Tensor, Tensor]]:
    """Training and test images, normalised."""
    data = load("cifar10").normalised(MEAN, STD)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return {
        name: ((part.images / 255 - mean) / std, part.labels)
        for name, part in (("train", data.train), ("test", data.test))
    }


@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Share of right answers."""
    model.eval()
    right = [int((model(x).argmax(1) == y).sum()) for x, y in batches(data, 256)]
    return sum(right) / len(data[1])


def tuning(data: dict[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The images networks are fine-tuned on."""
    x, y = data["train"]
    return x[:TUNING], y[:TUNING]


def batches(data: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
    """The data in order."""
    return list(zip(data[0].split(size), data[1].split(size), strict=True))


def at_half(model: nn.Module, method: str, options: dict[str, Any], data: Any) -> tuple[float, Any]:
    """A density whose network has 47 to 50 % of the MACs (at most, after four tries), and that network."""
    x, density, best = data[0][:2], 0.48, None
    for _ in range(4):
        result = sc.prune(model, method, density=density, data=data, example=x, **options)
        shrunk = sc.shrink(result, x)
        before, after = shrunk.record["macs"]
        share = after / before
        if share <= 0.5:
            best = (density, shrunk)
        if 0.47 <= share <= 0.5:
            break
        density *= 0.49 / share
    assert best is not None, f"{method}: no density that was tried halves the MACs"
    return best


def row(dense: nn.Module, method: str, options: dict[str, Any], data: Any) -> dict[str, Any]:
    """Everything measured of one method."""
    few = tuple(part[:SCORING] for part in data["train"])
    start = time.monotonic()
    density, shrunk = at_half(dense, method, options, few)
    seconds = time.monotonic() - start
    small = shrunk.model
    renewed = copy.deepcopy(small)
    recalibrate(renewed, batches(few, 64))
    tuned = sc.prune(small, "dense", data=tuning(data), training=FINE_TUNING, seed=0).model
    x = data["test"][0][:16]
    ratio = sc.measure(small, x, against=dense, batch_sizes=(16,), threads=(1,), pairs=15)
    return {
        "method": method,
        "density": density,
        "pruned": accuracy(small, data["test"]),
        "recalibrated": accuracy(renewed, data["test"]),
        "tuned": accuracy(tuned, data["test"]),
        "macs": shrunk.record["macs"],
        "parameters": shrunk.record["parameters"],
        "difference": shrunk.record["difference"],
        "level": shrunk.record["level"],
        "latency": latency(ratio),
        "seconds": seconds,
    }


def latency(found: Any) -> dict[str, float]:
    """The dense network's time over this one's at batch 16, with the interval."""
    one = found.latency[0].speedup
    return {"speedup": one.ratio, "low": one.low, "high": one.high}


def main(folder: Path) -> None:
    """Run what is missing, write the table."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "structured.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    data = images()
    root = data_root()
    assert root is not None, "set SECATEUR_DATA"
    dense = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    load_weights(dense, root.parent / "models" / "cifar10-resnet20.safetensors").eval()
    if not rows:
        tuned = sc.prune(dense, "dense", data=tuning(data), training=FINE_TUNING, seed=0).model
        rows.append({
            "method": "dense",
            "pruned": accuracy(dense, data["test"]),
            "tuned": accuracy(tuned, data["test"]),
        })  # fmt: skip
    for method, options in METHODS.items():
        if method not in {r["method"] for r in rows}:
            rows.append(row(dense, method, options, data))
            path.write_text(json.dumps(rows, indent=1) + "\n")
            (folder / "structured.md").write_text(table(rows))
            print(json.dumps(rows[-1]), flush=True)


HEAD = """# Structural methods at half the MACs

ResNet-20 trained on CIFAR-10 ({dense:.2f} % of the 1,017 lossless test images; at 60 % the sample alone is
worth ±3 points). Channels inside the blocks are pruned in one shot to 47 to 50 % of the network's MACs,
one seed; then the smaller network is fine-tuned for one epoch on 2,048 images at a constant rate of 0.01,
without augmentation (the dense network ends at {tuned:.2f} % so): far from converged, this shows how
quickly a network comes back, not how far. `BN anew`: no training, but batch norms' statistics from the
128 images that the scores were taken on. `faster by`: the dense network's time over this one's at batch
16, one thread, with its 95 % interval, on two cores shared with much other work. Made by
`python experiments/structured.py docs/results/structured`.

| method | channels kept | MACs | parameters | pruned | BN anew | fine-tuned | faster by |
|---|---|---|---|---|---|---|---|
"""


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    dense = rows[0]
    lines = [HEAD.format(dense=100 * dense["pruned"], tuned=100 * dense["tuned"])]
    for r in rows[1:]:
        time_ = r["latency"]
        lines.append(
            f"| `{r['method']}` | {100 * r['density']:.0f} % | {r['macs'][1] / r['macs'][0]:.3f} "
            f"| {r['parameters'][1] / r['parameters'][0]:.3f} | {100 * r['pruned']:.2f} % "
            f"| {100 * r['recalibrated']:.2f} % | {100 * r['tuned']:.2f} % "
            f"| {time_['speedup']:.2f} ({time_['low']:.2f} to {time_['high']:.2f}) |\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
