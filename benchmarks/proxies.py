"""Do zero-cost proxies rank networks as training does? Spearman on small networks and CIFAR-10."""

from __future__ import annotations

from typing import Any

import secateur as sc
from secateur.batches import as_batches
from secateur.data import load
from secateur.engine.train import evaluate
from secateur.experiments.statistics import spearman
from secateur.models.resolve import build_seeded

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    *(("cnn", {"width": w}) for w in (1, 2, 4, 8)),
    *(("resnet8", {"width": w}) for w in (1, 2, 4, 8)),
    ("lenet-300-100", {}),
    *(("vit", {"patch": 8, "dim": d, "depth": 2, "heads": 2}) for d in (8, 32)),
]


def main(_: list[str]) -> None:
    """Score every network at one seed, train it, and compare the orders."""
    data = load("cifar10")
    x, y = (data.train.images.float() / 255 - 0.5) / 0.25, data.train.labels
    test = (data.test.images.float() / 255 - 0.5) / 0.25, data.test.labels
    size = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    rows, accuracies = [], []
    for spec, options in NETWORKS:
        net = build_seeded(spec, 0, **size, **options)
        rows.append(sc.proxies(net, (x[:64], y[:64])))
        training = sc.preset("short").model_copy(
            update={"length": sc.Time(3, "ep"), "batch_size": 64, "lr": 0.02}
        )
        trained = sc.prune(net, "dense", data=(x, y), training=training).model
        batches = as_batches(test, 512, 0, shuffle=False)
        accuracies.append(float(evaluate(trained, batches)["accuracy"]))
        words = " ".join(f"{k}={v:.4g}" for k, v in rows[-1].items())
        print(f"{spec} {options}: accuracy {100 * accuracies[-1]:.1f} %, {words}", flush=True)
    for name in rows[0]:
        print(f"spearman {name}: {spearman([row[name] for row in rows], accuracies):.2f}")


if __name__ == "__main__":
    main([])
