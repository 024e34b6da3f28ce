"""Heads, neurons and layers of a vision transformer: python experiments/heads.py OUT [--seed N …]

The network (`heads_network.py`) is trained once, below runs/heads-vit, and goes on there when it was killed.
Each row prunes it on 256 training images of the seed's, takes the units out (`secateur.shrink`, which proves
that nothing else changed), and fine-tunes what is left, all by the same training. Writes OUT/heads.json and
OUT/heads.md after every row; a row that is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from heads_network import pictures, trained
from heads_report import write
from structured import accuracy, latency, macs
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import Uniform
from secateur.core.random import generator
from secateur.core.recipe import Recipe
from secateur.criteria import Random
from secateur.data import Augment, Batches, DataSet, ImageData
from secateur.engine.train import AdamW, OneCycle, Training
from secateur.schedule import OneShot
from secateur.scope import Model
from secateur.structure import Layers

WORK = Path("runs/heads-vit")
SCORING, TUNING, TESTED = 256, 4800, 4000
"""Images to score on, to fine-tune on, and to test on."""
SHORT = Training(
    length=sc.Time(1, "ep"), batch_size=64, lr=5e-4, weight_decay=0.05, decay_norms=False,
    schedule=OneCycle(), optimiser=AdamW(), clip=1.0,
)  # fmt: skip


def random_layers(density: float) -> Recipe:
    """Blocks at random."""
    return Recipe(
        structure=Layers(), criterion=Random(), scope=Model(), allocator=Uniform(),
        schedule=OneShot(density=density),
    )  # fmt: skip


def row(method: str, density: float = 0.5, **options: Any) -> Callable[[], Recipe]:
    """A method of the catalogue with its options."""
    return partial(sc.recipe, method, density=density, **options)


HEADS, NEURONS = {"kinds": ("heads",)}, {"kinds": ("neurons",)}
ROWS: dict[str, dict[str, Callable[[], Recipe]]] = {
    "heads": {
        "random": row("random-channels", **HEADS),
        "group-norm": row("group-norm", **HEADS),
        "head-pruning": row("head-pruning"),
        "head-pruning, 6 rounds": row("head-pruning", rounds=6),
        "head-pruning by loss": row("head-pruning", by="loss"),
        "head-pruning by loss, 6 rounds": row("head-pruning", by="loss", rounds=6),
    },
    "neurons": {
        "random": row("random-channels", **NEURONS),
        "l1-filters": row("l1-filters", **NEURONS),
        "group-norm": row("group-norm", **NEURONS),
        "taylor-2017": row("taylor-2017", **NEURONS),
        "fisher-channels": row("fisher-channels", **NEURONS),
        "channel-lasso": row("channel-lasso", **NEURONS),
    },
    "layers": {
        "random": partial(random_layers, 2 / 3),
        "layer-dropping by influence": row("layer-dropping", 2 / 3, by="influence"),
        "layer-dropping": row("layer-dropping", 2 / 3),
        "layer-dropping, 2 rounds": row("layer-dropping", 2 / 3, rounds=2),
    },
}

Pair = tuple[Tensor, Tensor]


def normalised(data: ImageData, places: Tensor) -> Pair:
    """(x, y) of some images."""
    part = data.select(places)
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (part.mean, part.std))
    return (part.images / 255 - mean) / std, part.labels


def drawn(data: DataSet, count: int, *words: object) -> Tensor:
    """Places of training images."""
    return torch.randperm(len(data.train), generator=generator(*words))[:count]


def tuned(model: nn.Module, data: DataSet, seed: int) -> nn.Module:
    """The model fine-tuned for 75 steps."""
    part = data.train.select(drawn(data, TUNING, seed, "tuning"))
    stream = Batches(part, SHORT.batch_size, seed=seed, augment=Augment())
    example = torch.zeros(1, *data.train.shape)
    made = sc.prune(model, "dense", data=stream, training=SHORT, example=example, seed=seed)
    return made.model


def measured(
    net: nn.Module, recipe: Recipe, data: DataSet, test: Pair, seed: int
) -> dict[str, Any]:
    """Everything measured of one row at one seed."""
    few = normalised(data.train, drawn(data, SCORING, seed, "scoring"))
    example = few[0][:2]
    result = sc.prune(net, recipe, data=few, example=example, trained=True, seed=seed)
    shrunk = sc.shrink(result, example)
    small = shrunk.model
    pruned = accuracy(small, test)
    after = accuracy(tuned(small, data, seed), test)
    timed = sc.measure(small, test[0][:16], against=net, batch_sizes=(16,), threads=(1,), pairs=15)
    record = {name: shrunk.record.get(name) for name in ("parameters", "difference", "level")}
    counts = [macs(one, few) for one in (net, small)]
    return {"pruned": pruned, "tuned": after, "macs": counts, **record, "latency": latency(timed)}


def main(folder: Path, seeds: list[int]) -> None:
    """Make what is missing, write the page."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "heads.json"
    data = pictures()
    net = trained(data, WORK)
    test = normalised(data.test, torch.arange(TESTED))
    for seed in seeds:
        for kind, methods in {"dense": {"dense": None}, **ROWS}.items():
            for label, make in methods.items():
                done = json.loads(path.read_text()) if path.exists() else {}
                rows = done.setdefault(kind, {}).setdefault(label, {})
                if str(seed) in rows:
                    continue
                if make is None:
                    whole = accuracy(tuned(net, data, seed), test)
                    rows[str(seed)] = {"pruned": accuracy(net, test), "tuned": whole}
                else:
                    rows[str(seed)] = measured(net, make(), data, test, seed)
                path.write_text(json.dumps(done, indent=1) + "\n")
                write(done, folder)
                print(kind, label, seed, rows[str(seed)], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    main(asked.folder, asked.seed)
