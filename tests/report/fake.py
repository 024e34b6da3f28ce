"""A results folder as a study would leave it, made by formulas instead of training."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

LAYERS = {
    "conv1.weight": 432,
    "layer1.0.conv1.weight": 2304,
    "layer1.0.conv2.weight": 2304,
    "layer2.0.conv1.weight": 4608,
    "layer2.0.conv2.weight": 9216,
    "layer3.0.conv1.weight": 18432,
    "layer3.0.conv2.weight": 36864,
}
REST = 1_000
PRUNABLE = sum(LAYERS.values())
PARAMS = PRUNABLE + REST
MACS = 40 * PRUNABLE


def wobble(*what: object) -> float:
    """A number in [-1, 1] that depends on nothing but its arguments."""
    return int(sha256(repr(what).encode()).hexdigest()[:8], 16) / 2**31 - 1


@dataclass(frozen=True)
class Fake:
    """One method: how good it is, how it spreads its weights, and where it is evaluated.

    Attributes:
        drop: accuracy lost at density 1 %.
        tilt: how unevenly it prunes; large layers more.
        densities: of its rounds (iterative) or of its runs (one each).
    """

    method: str
    label: str
    drop: float = 0.1
    tilt: float = 0.0
    densities: tuple[float, ...] = ()
    iterative: bool = False
    options: dict[str, Any] = field(default_factory=dict)


METHODS = (
    Fake("dense", "Dense"),
    Fake("lottery-ticket", "Lottery ticket (rewind to 0)", 0.08, 0.1,
         tuple(0.8**i for i in range(1, 11)), True),
    Fake("han", "Magnitude (Han)", 0.06, 0.25, (0.33, 0.2, 0.14, 0.11, 0.095, 0.083), True),
    Fake("synflow", "SynFlow", 0.13, 0.35, (0.5, 0.2, 0.1, 0.05, 0.02)),
    Fake("snip", "SNIP", 0.19, 0.8, (0.5, 0.2, 0.1, 0.05, 0.02)),
    Fake("grasp", "GraSP", 0.24, 0.5, (0.5, 0.2, 0.1, 0.05, 0.02)),
)  # fmt: skip


def layer_densities(density: float, tilt: float) -> dict[str, float]:
    """Small layers keep more; the total is about `density`."""
    if density == 1:
        return dict.fromkeys(LAYERS, 1.0)
    mean = PRUNABLE / len(LAYERS)
    raw = {name: density * (mean / size) ** tilt for name, size in LAYERS.items()}
    kept = {name: int(min(1.0, d) * LAYERS[name]) for name, d in raw.items()}
    return {name: kept[name] / LAYERS[name] for name in LAYERS}


def accuracy(fake: Fake, density: float, seed: int, n: int) -> float:
    """A whole number of right answers out of `n`."""
    loss = fake.drop * (math.log10(density) / 2) ** 2 if density < 1 else 0.0
    name = fake.method if density < 1 else "dense"
    exact = 0.947 - loss + 0.002 * wobble(name, round(density, 6), seed)
    return round(max(exact, 0.1) * n) / n


def point(
    fake: Fake, number: int, density: float, seed: int, moment: str, n: int
) -> dict[str, Any]:
    """One point of `result.json`."""
    layers = layer_densities(density, fake.tilt)
    kept = sum(round(layers[name] * size) for name, size in LAYERS.items())
    real = kept / PRUNABLE
    right = accuracy(fake, density, seed, n) - (0.3 if moment == "pruned" else 0.0)
    return {
        "round": number, "moment": moment, "density": real, "sparsity": 1 - real,
        "density_all": (kept + REST) / PARAMS,
        "test": {"accuracy": right, "loss": 2 * (1 - right), "n": n},
        "val": {"accuracy": right, "loss": 2 * (1 - right), "n": n // 2},
        "params": PARAMS, "nonzero": kept + REST, "macs": MACS, "macs_nonzero": int(MACS * real),
        "bytes_dense": 4 * PARAMS, "bytes_stored": int(4 * (kept + REST) * 1.1) + 900,
        "layers": layers, "empty": [name for name, d in layers.items() if d == 0],
        "unreachable": [], "seconds": 60.0 * (number + 1),
    }  # fmt: skip


def result(
    fake: Fake, densities: tuple[float, ...], seed: int, seeds: list[int], n: int
) -> dict[str, Any]:
    """A whole `result.json`; several densities are rounds after a dense training."""
    recipe: dict[str, Any] = {
        "name": "recipe", "method": fake.method, "criterion": {"name": "magnitude"}, "scope": "model",
        "schedule": {"name": "one-shot", "density": densities[0] if len(densities) == 1 else None},
    }  # fmt: skip
    config = {
        "network": {"spec": "resnet18", "options": {"classes": 10}, "weights": None},
        "data": {"source": "cifar10", "validation": 0.1, "augment": True, "flip": True},
        "training": {"preset": "cifar-reference", "length": "200ep"},
        "recipe": recipe | fake.options,
    }
    digest = sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    points = list(_points(fake, densities, seed, n))
    return {
        "schema": 1, "digest": digest, "seed": seed, "experiment": "cifar10-report",
        "label": fake.label, "method": fake.method, "config": config, "points": points,
        "seconds": points[-1]["seconds"],
        "versions": {"python": "3.11.9", "secateur": "0.1.0", "torch": "2.13.0"},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "machine": {"platform": "Linux", "processor": "Test CPU", "threads": 2, "device": "cpu"},
        "started": f"2025-01-0{1 + seed % 7}T08:{_place(fake):02d}:00+00:00", "seeds": seeds,
    }  # fmt: skip


def _place(fake: Fake) -> int:
    """Methods are run in the order they are listed."""
    return METHODS.index(fake) if fake in METHODS else 59


def _points(
    fake: Fake, densities: tuple[float, ...], seed: int, n: int
) -> Iterator[dict[str, Any]]:
    if fake.iterative or not densities:
        yield point(fake, 0, 1.0, seed, "trained", n)
    for number, density in enumerate(densities, 1):
        if fake.iterative:
            yield point(fake, number, density, seed, "pruned", n)
        yield point(fake, number, density, seed, "recovered" if fake.iterative else "trained", n)


def study(
    root: Path,
    methods: tuple[Fake, ...] = METHODS,
    seeds: tuple[int, ...] = (42, 43, 44),
    n: int = 10_000,
    analyses: bool = True,
) -> list[dict[str, Any]]:
    """Write a whole results folder and return its results."""
    results = [
        result(fake, densities, seed, list(seeds), n)
        for seed in seeds
        for fake in methods
        for densities in runs_of(fake)
    ]
    for one in results:
        save(root, one)
    for name, plain in (ANALYSES if analyses else {}).items():
        _dump(root / "analyses" / f"{name}.json", plain)
    return results


def runs_of(fake: Fake) -> list[tuple[float, ...]]:
    """The densities of each configuration."""
    return (
        [fake.densities] if fake.iterative or not fake.densities else [(d,) for d in fake.densities]
    )


def save(root: Path, one: dict[str, Any]) -> Path:
    """Write one result where it belongs."""
    folder = root / one["digest"]
    _dump(folder / "config.json", one["config"])
    return _dump(folder / str(one["seed"]) / "result.json", one)


def _dump(path: Path, plain: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain), encoding="utf-8")
    return path


def _collapse(label: str, tilt: float, network: str, collapses: bool) -> dict[str, Any]:
    points = []
    for sparsity in (0.9, 0.99, 0.999):
        layers = layer_densities(1 - sparsity, tilt)
        if not collapses:
            layers = {name: max(d, 1.5 / LAYERS[name]) for name, d in layers.items()}
        lost = [name for name, d in layers.items() if d == 0]
        points.append({"sparsity": sparsity, "layers": layers, "collapsed": lost})
    return {"label": label, "network": network, "points": points}


_RUNS = [
    f"{label} · {seed}" for label in ("Lottery ticket", "SNIP", "SynFlow") for seed in (42, 43, 44)
]

ANALYSES: dict[str, dict[str, Any]] = {
    "collapse": {
        "kind": "collapse",
        "methods": [
            _collapse(*what, network, saved)
            for network in ("resnet18", "vgg16_bn")
            for *what, saved in (
                ("SynFlow, 100 rounds", 0.2, False),
                ("SNIP, one shot", 4.0, True),
                ("Magnitude, one shot", 3.2, True),
            )
            for what in [what]
        ],
    },
    "overlap": {
        "kind": "overlap",
        "sparsity": 0.9,
        "labels": _RUNS,
        "jaccard": [
            [1.0 if a == b else (0.35 if a[:4] == b[:4] else 0.08) for b in _RUNS] for a in _RUNS
        ],
        "chance": [[1.0 if a == b else 0.06 for b in _RUNS] for a in _RUNS],
    },
    "sensitivity": {
        "kind": "sensitivity",
        "layers": list(LAYERS),
        "sparsities": [0.5, 0.8, 0.9, 0.95, 0.99],
        "accuracy": [
            [0.94 - 0.8 * s**12 / (1 + i) for s in (0.5, 0.8, 0.9, 0.95, 0.99)]
            for i in range(len(LAYERS))
        ],
        "dense": 0.947,
    },
    "connectivity": {
        "kind": "connectivity",
        "alphas": [i / 10 for i in range(11)],
        "curves": [
            {
                "label": f"k = {k}",
                "loss": [0.2 + height * math.sin(math.pi * i / 10) for i in range(11)],
                "accuracy": [0.94 - 0.3 * height * math.sin(math.pi * i / 10) for i in range(11)],
            }
            for k, height in (("0it", 1.8), ("10%", 0.02))
        ],
    },
    "transfer": {
        "kind": "transfer",
        "sparsity": 0.89,
        "rows": [
            {"ticket": name, "from": "cifar10", "to": "cifar100", "accuracy": found, "seeds": 3}
            for name, found in (
                ("ticket", [0.71, 0.72, 0.715]),
                ("random", [0.66, 0.67, 0.655]),
                ("dense", [0.74, 0.741, 0.738]),
            )
        ],
    },
}  # fmt: skip
