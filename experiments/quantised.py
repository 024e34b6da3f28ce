"""Pruned, then integers: python experiments/quantised.py OUT [ROW …]

ResNet-20 on CIFAR-10 with half of its weights gone, or smaller by structures, and the story model with half
of its weights gone: as pruned, with its weights rounded to integers, and trained with the rounding in force.
What is evaluated is the file for torchao, read back. Writes OUT/integers.json after every row and
OUT/integers.md from it.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from compression import resnet
from torch import Tensor, nn

import secateur as sc
from secateur.data import data_root
from secateur.engine.train import preset
from secateur.engine.train.lr import Constant
from secateur.export.torchao import quantised
from secateur.measure import measure_size
from secateur.precision import SharedWeights

RECOVER = {"fine_tune": "2ep", "lr_scale": 0.1}
NETWORKS = (
    "ResNet-20, weights",
    "ResNet-20, channels",
    "stories260k, weights",
    "stories260k, shared",
)


def accuracy(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Per cent of right answers."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(*(t.split(256) for t in data), strict=True)
        )
    return 100 * right / len(data[1])


def pruned_resnet(structures: bool) -> tuple[nn.Module, dict[str, Any], Any]:
    """The network pruned and fine-tuned, what it is trained with, and what says how good it is."""
    model, given = resnet()
    test = given.pop("test")
    example = test[0][:2]
    if structures:
        result = sc.prune(
            model, "group-norm", density=0.6, kinds=("channels",), example=example, trained=True
        )
        small = sc.shrink(result, example).model
        base = sc.prune(small, tuned(), example=example, **given)
    else:
        base = sc.prune(
            model, "magnitude", density=0.5, classifier=True, example=example, **RECOVER, **given
        )
    return base.model, given | {"example": example}, lambda net: accuracy(net, test)


def tuned() -> sc.Recipe:
    """Training on with one rate, two epochs."""
    return sc.recipe("magnitude", density=1.0, **RECOVER)


def pruned_stories() -> tuple[nn.Module, dict[str, Any], Any]:
    """The story model pruned by Wanda on text that it samples itself, and its perplexity on other such text."""
    from transformers import AutoModelForCausalLM

    root = data_root()
    assert root is not None
    model = AutoModelForCausalLM.from_pretrained(root.parent / "models" / "stories260k").eval()
    train, test = sampled(model, 256, 0), sampled(model, 64, 1)
    batches = {"input_ids": train, "attention_mask": torch.ones_like(train), "labels": train}
    result = sc.prune(
        model, "wanda", sparsity=0.5, calibration=[{"input_ids": train}], data=batches
    )
    training = preset("language").model_copy(update={"length": sc.Time(4, "ep"), "lr": 5e-4})
    base = sc.prune(
        result.model, sc.Recipe(**{**dict(sc.recipe("dense")), "carried": True}), data=batches,
        training=training, trained=False,
    )  # fmt: skip
    given = {
        "data": batches,
        "training": training,
        "trained": True,
        "example": {"input_ids": train[:1]},
    }
    return base.model, given, lambda net: perplexity(net, test)


def sampled(model: Any, n: int, seed: int) -> Tensor:
    """[n, 128] tokens that the model draws at temperature 1."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        start = torch.full((n, 1), model.config.bos_token_id)
        return model.generate(
            start, max_new_tokens=127, min_new_tokens=127, do_sample=True, top_k=0
        )


def perplexity(model: Any, ids: Tensor) -> float:
    """exp of the mean loss of a token."""
    model.eval()
    with torch.no_grad():
        return math.exp(float(model(ids, labels=ids).loss))


def rows(name: str) -> dict[str, Any]:
    """Every variant of one network: what it reaches and the bytes of its file."""
    if name == NETWORKS[3]:
        return shared()
    make = {
        NETWORKS[0]: lambda: pruned_resnet(False),
        NETWORKS[1]: lambda: pruned_resnet(True),
        NETWORKS[2]: pruned_stories,
    }
    model, given, good = make[name]()
    out = {"pruned": {"score": good(model), "stored": measure_size(model).stored}}
    for bits in (8, 4):
        out[f"rounded, {bits} bits"] = delivered(model, bits, good, given["example"])
        recipe = sc.recipe("dense", quantise=bits, tune="1ep")
        trained = sc.prune(model, recipe, **given).model
        out[f"trained, {bits} bits"] = delivered(trained, bits, good, given["example"])
    return out | control(model, good, given)


def control(model: nn.Module, good: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The same epoch at the same rate without the rounding, and rounded after it."""
    training = given["training"]
    once = {"length": sc.Time(1, "ep"), "lr": 0.1 * training.lr, "schedule": Constant()}
    more = given | {"training": training.model_copy(update=once), "trained": False}
    longer = sc.prune(model, "dense", **more).model  # masks hold where there is only training
    out: dict[str, Any] = {"an epoch more": {"score": good(longer)}}
    for bits in (8, 4):
        out[f"an epoch more, rounded, {bits} bits"] = delivered(
            longer, bits, good, given["example"]
        )
    return out


def shared() -> dict[str, Any]:
    """The story model, its weights shared as clustered and trained so: what its compact artifact takes.

    Adam divides by the size of gradients, so that sums need no smaller rate than others.
    """
    model, given, good = pruned_stories()
    out = {"pruned": {"score": good(model), "stored": compact(model)}}
    for bits in (8, 5, 4, 3):
        for length in (None, "1ep"):
            kind = SharedWeights(bits=bits, length=length, lr_scale=0.2)
            recipe = sc.Recipe(**{**dict(sc.recipe("dense")), "precision": kind})
            made = sc.prune(model, recipe, **given).model
            word = "as clustered" if length is None else "trained"
            out[f"shared, {bits} bits, {word}"] = {"score": good(made), "stored": compact(made)}
    return out


def compact(model: nn.Module) -> int:
    """Bytes of the weights in a compact artifact."""
    with tempfile.TemporaryDirectory() as folder:
        sc.save(model, Path(folder, "a"), compact=True)
        return Path(folder, "a", "model.safetensors").stat().st_size


def delivered(model: nn.Module, bits: int, good: Any, example: Any) -> dict[str, Any]:
    """The file for torchao: its bytes, its difference from the network, and what the integers reach."""
    with tempfile.TemporaryDirectory() as folder:
        made = sc.export(
            model, Path(folder, "a.safetensors"), to="torchao", kind=f"int{bits}", example=example
        )
        plain = sc.export(model, Path(folder, "b.safetensors"), to="state-dict")
    integers, _ = quantised(model, f"int{bits}")
    weights = [p for p in model.parameters() if p.dim() > 1]
    zeros = sum(int((p == 0).sum()) for p in weights) / sum(p.numel() for p in weights)
    return {
        "score": good(integers), "bytes": made.bytes, "plain": plain.bytes, "difference": made.difference,
        "zeros": zeros,
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| network | variant | accuracy or perplexity | torchao file | artifact | plain file | outputs of file and network differ by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, variants in found.items():
        for variant, row in variants.items():
            unit = f"{row['score']:.2f}" + ("" if "stories" in name else " %")
            rest = [f"{row[k]:,}" if k in row else "" for k in ("bytes", "stored", "plain")]
            far = f"{row['difference']:.1e}" if row.get("difference") is not None else ""
            lines.append(f"| {' | '.join([name, variant, unit, *rest, far])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the networks that are asked for and missing."""
    out = Path(sys.argv[1])
    path = out / "integers.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[2:] or NETWORKS:
        if name not in found:
            found[name] = rows(name)
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(name, found[name], flush=True)
    (out / "integers.md").write_text(table({n: found[n] for n in NETWORKS if n in found}))


if __name__ == "__main__":
    main()
