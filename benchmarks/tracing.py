"""What tracing and removal cost: time by layers, and two whole networks.

    python benchmarks/tracing.py

A Llama configuration (2048 wide, grouped heads) on the meta device, no weights allocated, is traced
with 12, 24 and 48 layers: the time should at most double each time (a limit of 2.2 allows for what
else the machine does). A ResNet-50 and a 12-layer ViT are traced and half of every structure that
goes exactly is removed, proof included: at most 10 s each on two cores. Wall and processor seconds
are printed, of one run after a small network to warm up.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from secateur.structure.graph import Trace, remove, trace

LAYERS = (12, 24, 48)
RATIO_LIMIT, SECONDS_LIMIT = 2.2, 10.0


def llama(layers: int, width: int = 2048) -> tuple[nn.Module, dict[str, Any]]:
    """A decoder without weights, and tokens for it."""
    config = transformers.LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_attention_heads=width // 64,
        num_key_value_heads=max(width // 512, 1),
        num_hidden_layers=layers,
        vocab_size=32_000,
    )
    with torch.device("meta"):
        tokens = torch.zeros(2, 16, dtype=torch.long)
        return transformers.LlamaForCausalLM(config), {"input_ids": tokens}


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the work returns, wall seconds and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def by_layers(width: int) -> list[str]:
    """Time to trace each depth, and its ratio to the depth before."""
    lines, before = [], None
    for layers in LAYERS:
        model, tokens = llama(layers, width)
        found, wall, processor = timed(lambda m=model, t=tokens: trace(m, (), t))
        assert all(p.is_meta for p in model.parameters())
        ratio = f", {processor / before:.2f} times" if before else ""
        lines.append(
            f"llama, {layers} layers: {wall:.1f} s ({processor:.1f} s of processor{ratio}), "
            f"{len(found.axes)} structures"
        )
        before = processor
    return lines


def networks() -> dict[str, nn.Module]:
    """The two networks of the limit."""
    vit = transformers.ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768)
    return {
        "ResNet-50": transformers.ResNetForImageClassification(transformers.ResNetConfig()),
        "ViT-Tiny, 12 layers": transformers.ViTForImageClassification(vit),
        "ViT-Base, 12 layers": transformers.ViTForImageClassification(transformers.ViTConfig()),
    }


def halved(model: nn.Module) -> tuple[Trace, str]:
    """Trace, take half of every exact structure out, prove it."""
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = trace(model, (images,))
    plan = {a: range(max(1, a.units // 2)) for a in found.axes if a.exact and a.default}
    return found, remove(found, model, plan, (images,)).level


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=2048, help="width of the Llama configuration")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(options.threads)
    trace(*llama(1, 64)[:1], (), llama(1, 64)[1])
    print(f"load of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print("\n".join(by_layers(options.width)), f"(limit {RATIO_LIMIT} times)")
    for name, model in networks().items():
        (_, level), wall, processor = timed(lambda m=model: halved(m))
        print(
            f"{name}: traced and halved (level {level}) in {wall:.1f} s "
            f"({processor:.1f} s of processor; limit {SECONDS_LIMIT:g} s)"
        )


if __name__ == "__main__":
    main()
