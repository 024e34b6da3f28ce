"""Networks as people write them: as ordinary modules, or with single parts as graphs, at any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.structure.graph import trace
from secateur.structure.graph.op import UNKNOWN
from tests.structure.graph.zoo.table import make

KEPT = {
    "small_gpt": ({".heads": [0, 2], "mlp.0": range(9)}, "C", {"blocks.0", "blocks.1"}),
    "complex_llama": ({".heads": [1], ".query_heads": [0], "gates": range(9)}, "B", set()),
    "diffusion": ({".groups": [0], "time.0": range(9)}, "A", set()),
    "windows": ({".heads": [0, 3]}, "C", {"attend.0", "attend.1"}),
    "routed": ({"experts": range(9)}, "A", set()),
    "bags": ({"bags": range(9), "top.0": range(9)}, "A", set()),
}


@pytest.mark.parametrize("name", KEPT)
def test_level_and_any_batch(name: str) -> None:
    model, ((x,), _) = make(name)
    endings, level, replaced = KEPT[name]
    found = [a for a in sc.trace(model, x) if a.default and a.exact]
    keep = {a.name: list(u) for a in found for end, u in endings.items() if end in a.name}
    keep = {n: [u for u in units if u < _units(found, n)] for n, units in keep.items()}
    small = sc.shrink(model, x, keep=keep)
    assert (small.record["level"], set(small.record["replaced"])) == (level, replaced)
    assert small.record["exact"]
    _trains(small.model, torch.cat([x, x.flip(0), x]))


def _units(found: list, name: str) -> int:
    return next(a.units for a in found if a.name == name)


def _trains(model: nn.Module, x: Tensor) -> None:
    out = model.train()(x)
    assert out.shape[0] == x.shape[0]
    out.square().mean().backward()
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_a_size_that_hangs_on_values_has_a_stand_in() -> None:
    model, ((x,), _) = make("routed")
    (first, *_) = [a for a in trace(model, (x,)).axes if a.name.startswith("experts")]
    assert first.macs == UNKNOWN * 2 * 16
