"""Channels chosen for every image on the trained ResNet-20, beside channels taken out for all of them.

    python tools/run_time_cifar_study.py

Every network, the dense one too, is trained on for the same few epochs on the training images of the subset,
without augmentation. One thread; seconds are the processor's. Figures are kept as soon as they are there.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from evopress_cifar_study import accuracy, normalised, resnet
from stories260k import OUT
from torch import nn

import secateur as sc
from secateur.data import load
from secateur.measure.run_time import measure_run_time

FIGURES = OUT.parent / "dynamic" / "cifar10-resnet20.json"
EPOCHS = "4ep"
TRAINING = sc.preset("short").model_copy(
    update={"length": sc.Time(4, "ep"), "lr": 0.02, "batch_size": 64}
)
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "dense, trained on": ("dense", {}),
    "fbs 0.5": ("fbs", {"density": 0.5}),
    "filters 0.5": ("l1-filters", {"density": 0.5, "fine_tune": EPOCHS}),
    "fbs 0.75": ("fbs", {"density": 0.75}),
    "filters 0.75": ("l1-filters", {"density": 0.75, "fine_tune": EPOCHS}),
    "fbs 1": ("fbs", {"density": 1.0}),
    "fbs 0.25": ("fbs", {"density": 0.25}),
}


def main() -> None:
    """Every figure that is not there yet."""
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    dense, data = resnet(), load("cifar10")
    x, y = normalised(data.test.images), data.test.labels
    pair = (normalised(data.train.images), data.train.labels)
    keep(
        found,
        "dense",
        {"accuracy": accuracy(dense, x, y), "macs": macs(dense, x), "images": len(y)},
    )
    for name, (method, options) in ASKED.items():
        if name in found:
            continue
        begun = time.process_time()
        result = sc.prune(
            dense, method, data=pair, training=TRAINING, trained=method != "dense", **options
        )
        told: dict[str, Any] = {"seconds": time.process_time() - begun}
        told["accuracy"] = accuracy(result.model, x, y)
        if method == "fbs":
            told["work"] = measure_run_time(result.model, x.split(128), most=len(y)).plain()
            sc.save(result, gated(name), overwrite=True)
        else:
            small = sc.shrink(result, x[:2]).model if method != "dense" else result.model
            told["macs"] = macs(small, x)
        keep(found, name, told)


def gated(name: str) -> Path:
    """Where the network of a row is kept, for page and times."""
    return Path(tempfile.gettempdir()) / name.replace(" ", "-")


def macs(model: nn.Module, x: torch.Tensor) -> int:
    """Of one image."""
    return sc.measure(model, x[:1]).macs.total  # type: ignore[union-attr]


def keep(found: dict[str, Any], name: str, told: dict[str, Any]) -> None:
    """Remember a figure, on the disk too."""
    found[name] = told
    print(name, {k: v for k, v in told.items() if k != "work"}, flush=True)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
