"""Structured methods on the trained ResNet-20 at half the MACs: python experiments/structured.py OUT [ROW …]

Every method prunes the same network, on the same 128 training images, to 47 to 50 % of its MACs (residual
blocks go whole, and to what they can); the units are taken out (`secateur.shrink`, which proves that nothing
else changed), and the smaller network is fine-tuned, all by the same training.
Writes OUT/structured.json and OUT/structured.md after every row; a row that is there
already is not made again. `ROW …` are labels of the rows to make, all by default. `--seed 1` makes those of
`SEEDED` once more with other images to score on, another order of training and other chances, into
OUT/seeds.json; without the latency, which does not change.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from structured_report import write
from torch import Tensor, nn

import secateur as sc
from secateur.core.axes import Recovery
from secateur.core.random import generator
from secateur.data import Augment, Batches, data_root, load
from secateur.engine.train import SGD, Constant, OneCycle, Training
from secateur.measure.macs import count_macs
from secateur.models import build_seeded, load_weights
from secateur.recover import BnRecalibration, FineTune

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPOCHS, LR, SCORING = 3, 0.02, 128
TUNING = Training(
    length=sc.Time(EPOCHS, "ep"), batch_size=64, lr=LR, schedule=OneCycle(),
    optimiser=SGD(nesterov=True), precision="bf16",
)  # fmt: skip
CONSTANT = TUNING.model_copy(update={"schedule": Constant(), "lr": 0.1})
"""For training between rounds, at a tenth of its rate."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a method, its options, its density where that is not searched, and what
    is done after every round of it."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    density: float | None = None
    between: Recovery | None = None


CHANNELS = {"kinds": ("channels",)}
ROWS: dict[str, Row] = {
    "random-channels": Row("random-channels"),
    "l1-filters": Row("l1-filters"),
    "network-slimming": Row("network-slimming", {"strength": 1.5e-2}),
    "group-norm": Row("group-norm", CHANNELS),
    "depgraph-sparse": Row("depgraph-sparse", {"strength": 8e-3, **CHANNELS}),
    "layer-dropping, 4 of 9 blocks": Row("layer-dropping", {"rounds": 4}, 3 / 7),
    "layer-dropping, 5 of 9 blocks": Row("layer-dropping", {"rounds": 5}, 2 / 7),
    "fpgm": Row("fpgm"),
    "hrank": Row("hrank"),
    "channel-lasso": Row("channel-lasso"),
    "channel-lasso, branches as they are": Row("channel-lasso", {"residual": False}),
    "thinet": Row("thinet"),
    "fisher-channels": Row("fisher-channels"),
    "fisher-channels, 16 rounds": Row(
        "fisher-channels", {"rounds": 16}, 0.45, between=BnRecalibration()
    ),
    "taylor-2019": Row("taylor-2019"),
    "taylor-2019, 8 rounds": Row(
        "taylor-2019", {"rounds": 8}, 0.46, between=FineTune(length="24it")
    ),
    "isomorphic": Row("isomorphic", CHANNELS),
    "sosp": Row("sosp"),
    "sosp, variant i": Row("sosp", {"variant": "i"}),
    "taylor-2017": Row("taylor-2017"),
    "l2-filters": Row("l2-filters"),
}

SEEDED = ("random-channels", "l1-filters", "fpgm", "group-norm", "taylor-2019")

Data = dict[str, Any]


def images(seed: int) -> Data:
    """Training images as a stream, the few that scores are taken on, and the test images."""
    data = load("cifar10").normalised(MEAN, STD)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (MEAN, STD))
    x, y = ((data.train.images / 255 - mean) / std, data.train.labels)
    stream = Batches(data.train, TUNING.batch_size, seed=seed, augment=Augment())
    drawn = torch.randperm(len(y), generator=generator(seed, "scoring"))
    places = drawn[:SCORING] if seed else torch.arange(SCORING)
    test = ((data.test.images / 255 - mean) / std, data.test.labels)
    return {"stream": stream, "few": (x[places], y[places]), "test": test, "seed": seed}


class Both:
    """The stream of training images where a network is trained, the few images where it is scored."""

    def __init__(self, stream: Batches, few: tuple[Tensor, Tensor]) -> None:
        self.steps_per_epoch, self.epoch, self._few = stream.steps_per_epoch, stream.epoch, few

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(batches(self._few, SCORING))


@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Share of right answers."""
    model.eval()
    right = [int((model(x).argmax(1) == y).sum()) for x, y in batches(data, 256)]
    return sum(right) / len(data[1])


def batches(data: tuple[Tensor, Tensor], size: int) -> list[tuple[Tensor, Tensor]]:
    """The data in order."""
    return list(zip(data[0].split(size), data[1].split(size), strict=True))


def tuned(model: nn.Module, data: Data) -> nn.Module:
    """The model fine-tuned, all alike."""
    x = data["few"][0][:2]
    made = sc.prune(
        model, "dense", data=data["stream"], training=TUNING, example=x, seed=data["seed"]
    )
    return made.model


def resnet() -> nn.Module:
    """The trained ResNet-20."""
    root = data_root()
    assert root is not None, "set SECATEUR_DATA"
    dense = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    return load_weights(dense, root.parent / "models" / "cifar10-resnet20.safetensors").eval()


def pushed(dense: nn.Module, recipe: sc.Recipe, data: Data) -> nn.Module:
    """The network trained under the recipe's pressure, nothing pruned."""
    x = data["few"][0][:2]
    whole = recipe.model_copy(
        update={"schedule": recipe.schedule.model_copy(update={"density": 1.0})}
    )
    made = sc.prune(
        dense, whole, data=data["stream"], training=TUNING, example=x, seed=data["seed"]
    )
    return made.model.eval()


def macs(model: nn.Module, few: tuple[Tensor, Tensor]) -> int:
    """Multiply-accumulates of one image."""
    return count_macs(model, few[0][:1]).total


def at_half(model: nn.Module, row: Row, data: Data) -> tuple[float, Any]:
    """The density, and the shrunk network: of 47 to 50 % of the MACs where no density is given."""
    few, best, density = data["few"], None, row.density or 0.48
    for _ in range(1 if row.density else 4):
        recipe = sc.recipe(row.method, density=density, **row.options)
        changed = {"pressure": None, "recovery": row.between}  # the pressure has done its work
        result = sc.prune(
            model, recipe.model_copy(update=changed), data=Both(data["stream"], few),
            training=CONSTANT if isinstance(row.between, FineTune) else None, example=few[0][:2],
            trained=True, seed=data["seed"],
        )  # fmt: skip
        shrunk = sc.shrink(result, few[0][:2])
        share = macs(shrunk.model, few) / macs(model, few)
        if share <= 0.5 or row.density:
            best = (density, shrunk)
        if 0.47 <= share <= 0.5:
            break
        density *= 0.49 / share
    assert best is not None, f"{row.method}: no density that was tried halves the MACs"
    return best


def measured(dense: nn.Module, row: Row, data: Data, timed: bool = True) -> dict[str, Any]:
    """Everything measured of one row."""
    start = time.monotonic()
    recipe, model = sc.recipe(row.method, **row.options), dense
    if recipe.pressure is not None:
        model = pushed(dense, recipe, data)
    density, shrunk = at_half(model, row, data)
    seconds = time.monotonic() - start
    small = shrunk.model
    out: dict[str, Any] = {"pruned": accuracy(small, data["test"])}
    if recipe.pressure is not None:
        out["pushed"] = accuracy(model, data["test"])
    out["tuned"] = accuracy(tuned(small, data), data["test"])
    if timed:
        x = data["test"][0][:16]
        found = sc.measure(small, x, against=dense, batch_sizes=(16,), threads=(1,), pairs=25)
        out["latency"] = latency(found)
    counts = {"macs": [macs(net, data["few"]) for net in (dense, small)]}
    record = {name: shrunk.record.get(name) for name in ("parameters", "difference", "level")}
    options = {k: v for k, v in row.options.items() if k != "kinds"}
    return {
        "method": row.method, "options": options, "density": density, **out, **counts, **record,
        "seconds": seconds,
    }  # fmt: skip


def latency(found: Any) -> dict[str, float]:
    """The dense network's time over this one's at batch 16, with the interval."""
    one = found.latency[0].speedup
    return {"speedup": one.ratio, "low": one.low, "high": one.high}


def dense_row(model: nn.Module, data: Data) -> dict[str, Any]:
    """The network as it is, and after the same fine-tuning."""
    after = accuracy(tuned(model, data), data["test"])
    return {"method": "dense", "pruned": accuracy(model, data["test"]), "tuned": after}


def kept(path: Path) -> dict[str, Any]:
    """What was made before."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def make(folder: Path, labels: list[str]) -> None:
    """Make what is missing of the table, write the page."""
    path, dense, data = folder / "structured.json", resnet(), images(0)
    for label in ["dense", *(labels or ROWS)]:
        done = kept(path)
        if label in done:
            continue
        done[label] = (
            dense_row(dense, data) if label == "dense" else measured(dense, ROWS[label], data)
        )
        path.write_text(json.dumps(done, indent=1) + "\n")
        write(folder)
        print(json.dumps({label: done[label]}), flush=True)


def make_again(folder: Path, labels: list[str], seed: int) -> None:
    """Make what is missing at another seed, write the page."""
    path, dense, data = folder / "seeds.json", resnet(), images(seed)
    for label in ["dense", *(labels or SEEDED)]:
        rows = kept(path)
        if str(seed) in rows.setdefault(label, {}):
            continue
        rows[label][str(seed)] = (
            dense_row(dense, data) if label == "dense"
            else measured(dense, ROWS[label], data, timed=False)
        )  # fmt: skip
        path.write_text(json.dumps(rows, indent=1) + "\n")
        write(folder)
        print(label, seed, json.dumps(rows[label][str(seed)]), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="labels of the rows to make")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.seed:
        make_again(asked.folder, asked.rows, asked.seed)
    else:
        make(asked.folder, asked.rows)
