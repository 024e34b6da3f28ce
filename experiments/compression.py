"""Deep Compression measured: python experiments/compression.py OUT [ROW …]

Prunes, shares weights and codes; evaluates after every stage; writes the sizes of the files beside those of
gzip and zstd (the command) of the same tensors and the bound that entropy sets. Writes OUT/deep.json after
every row and OUT/deep.md from it; a row that is there already is not made again.
"""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.artifact import save_sparse
from secateur.data import Augment, Batches, data_root, load
from secateur.engine.train import SGD, OneCycle, Training
from secateur.models import build_seeded, load_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LENET = {"layers": {"fc1": 0.08, "fc2": 0.09, "fc3": 0.26}, "bits": 6, "fine_tune": "20ep"}
RESNET = {"density": 0.3, "fine_tune": "3ep", "tune": "1ep", "bits": 5}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "LeNet-300-100, digits": ("lenet", {**LENET, "tune": "10ep"}),
    "LeNet-300-100, digits, not tuned": ("lenet", {**LENET, "tune": None}),
    "LeNet-300-100, 3 bits": ("lenet", {**LENET, "bits": 3, "tune": "10ep"}),
    "LeNet-300-100, 3 bits, not tuned": ("lenet", {**LENET, "bits": 3, "tune": None}),
    "LeNet-300-100, 2 bits": ("lenet", {**LENET, "bits": 2, "tune": "10ep"}),
    "LeNet-300-100, 2 bits, not tuned": ("lenet", {**LENET, "bits": 2, "tune": None}),
    "LeNet-300-100, 2 bits, density": ("lenet", {**LENET, "bits": 2, "tune": None, "init": "density"}),
    "LeNet-300-100, 2 bits, random": ("lenet", {**LENET, "bits": 2, "tune": None, "init": "random"}),
    "ResNet-20, 8 bits": ("resnet", RESNET | {"conv_bits": 8}),
    "ResNet-20, 5 bits": ("resnet", RESNET | {"conv_bits": 5}),
    "ResNet-20, 3 bits": ("resnet", RESNET | {"conv_bits": 3}),
    "ResNet-20, 3 bits, not tuned": ("resnet", RESNET | {"conv_bits": 3, "tune": None}),
}  # fmt: skip


def lenet() -> tuple[nn.Module, dict[str, Any]]:
    """LeNet-300-100 of the paper's size, untrained, and the digits enlarged to 28x28."""
    data = load("digits")
    training = Training(
        length=sc.Time(40, "ep"), batch_size=64, lr=0.05, schedule=OneCycle(),
        optimiser=SGD(nesterov=True),
    )  # fmt: skip
    model = build_seeded("lenet-300-100", 0, num_classes=10, in_channels=1, image_size=28)
    train, test = (
        large(*ready(part, data.train.mean, data.train.std)) for part in (data.train, data.test)
    )
    return model, {"data": train, "test": test, "training": training}


def large(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same images, 28 pixels high and wide."""
    return nn.functional.interpolate(x, size=28, mode="bilinear"), y


def resnet() -> tuple[nn.Module, dict[str, Any]]:
    """The trained ResNet-20 and the lossless images of CIFAR-10."""
    data = load("cifar10").normalised(MEAN, STD)
    root = data_root()
    assert root is not None
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    load_weights(model, root.parent / "models" / "cifar10-resnet20.safetensors")
    training = Training(
        length=sc.Time(3, "ep"),
        batch_size=64,
        lr=0.1,
        optimiser=SGD(nesterov=True),
        precision="bf16",
    )
    stream = Batches(data.train, 64, seed=0, augment=Augment())
    given = {"data": stream, "test": ready(data.test, MEAN, STD), "training": training}
    return model, given | {"trained": True}


def ready(split: Any, mean: Any, std: Any) -> tuple[Tensor, Tensor]:
    """Normalised images and labels."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return (split.images / 255 - mean) / std, split.labels


def entropy(values: Tensor) -> float:
    """Bits of numbers that come independently of each other, by the definition."""
    counts = Counter(values.reshape(-1).tolist()).values()
    n = sum(counts)
    return sum(c * math.log2(n / c) for c in counts)


def sizes(model: nn.Module, masks: dict[str, Tensor]) -> dict[str, int]:
    """Bytes of the same tensors, stored in several ways."""
    state = model.state_dict()
    plain = b"".join(
        t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in state.values()
    )
    rest = sum(t.nbytes for n, t in state.items() if n not in masks)
    bound = sum(entropy(m) + entropy(state[n][m]) for n, m in masks.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        save_sparse(path, state, masks)
        stored = path.stat().st_size
        Path(folder, "b").write_bytes(plain)
        zstd = subprocess.run(
            ["zstd", "-19", "-q", "-c", str(Path(folder, "b"))], capture_output=True, check=True
        )
    return {
        "plain": len(plain),
        "gzip -9": len(gzip.compress(plain, 9)),
        "zstd -19": len(zstd.stdout),
        "file": stored,
        "bound": round(bound / 8) + rest,
        "weights": sum(state[n].nbytes for n in masks),
        "kept": sum(int(m.sum()) for m in masks.values()),
        "not coded": rest,
    }  # fmt: skip


def one(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """One run: accuracies by stage, sizes at the end and, beside them, of the pruned network alone."""
    model, given = {"lenet": lenet, "resnet": resnet}[kind]()
    result = sc.prune(model, "deep-compression", seed=0, **given, **options)
    points = {p["moment"]: p["test"] for p in result.record["points"]}
    recipe = sc.recipe("deep-compression", **options)
    alone = recipe.model_copy(update={"precision": None})
    _, given = {"lenet": lenet, "resnet": resnet}[kind]()
    pruned = sc.prune(model, alone, seed=0, **given)
    return {
        "points": points,
        "sizes": sizes(result.model, result.masks),
        "pruned": sizes(pruned.model, pruned.masks),
    }


def header(kind: str) -> int:
    """Bytes of names, places and digests in the file of such a network; they hardly depend on its values."""
    model, _ = {"lenet": lenet, "resnet": resnet}[kind]()
    result = sc.prune(model, "magnitude-layerwise", density=0.3, classifier=True, share=5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        save_sparse(path, result.model.state_dict(), result.masks)
        return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def table(rows: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| network | dense | pruned | fine-tuned | shared | plain | pruned file | gzip -9 | zstd -19 | file | entropy bound | times smaller |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        acc = [
            f"{100 * row['points'][m]['accuracy']:.2f}"
            for m in ("trained", "pruned", "recovered", "coded")
        ]
        s = row["sizes"]
        numbers = [
            s["plain"],
            row["pruned"]["file"],
            s["gzip -9"],
            s["zstd -19"],
            s["file"],
            s["bound"],
        ]
        ratio = f"{s['plain'] / s['file']:.1f}"
        lines.append(f"| {' | '.join([name, *acc, *(f'{n:,}' for n in numbers), ratio])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the rows that are asked for and missing."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    path = out / "deep.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[2:] or ROWS:
        if name not in rows:
            rows[name] = one(*ROWS[name])
            path.write_text(json.dumps(rows, indent=1) + "\n")
            print(name, rows[name], flush=True)
    told = "".join(
        f"\nHeader of the file of {name}: {header(kind):,} bytes.\n"
        for kind, name in (("lenet", "LeNet-300-100"), ("resnet", "ResNet-20"))
    )
    (out / "deep.md").write_text(table({n: rows[n] for n in ROWS if n in rows}) + told)


if __name__ == "__main__":
    main()
