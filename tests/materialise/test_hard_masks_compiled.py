"""Hard masks under torch.compile: one graph, no recompilation, the same numbers."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from secateur.materialise import HardMasks


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def train(model: nn.Module, run: nn.Module, steps: range) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        run(torch.randn(4, 6, generator=draw)).square().sum().backward()
        optimizer.step()


BACKENDS = ["eager", "aot_eager", "inductor"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_training_is_masked_and_compiles_once(backend):
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("the inductor backend needs a C++ compiler")
    torch._dynamo.reset()
    model, plain = net(), net()
    keep = {n: torch.rand(p.shape, generator=torch.Generator().manual_seed(0)) < 0.5
            for n, p in model.named_parameters() if p.dim() == 2}  # fmt: skip
    masks = HardMasks(model, keep)
    HardMasks(plain, keep)
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    train(model, compiled, range(3))
    assert counter.frame_count == 1
    less = {n: k & (torch.arange(k.shape[1]) > 1) for n, k in keep.items()}
    masks.update(less)
    train(model, compiled, range(3, 6))
    assert counter.frame_count == 1, "a new mask must not compile the network anew"
    train(plain, plain, range(3))
    HardMasks(plain, less)
    train(plain, plain, range(3, 6))
    for name, k in less.items():
        assert torch.all(model.get_parameter(name)[~k] == 0)
        torch.testing.assert_close(model.get_parameter(name), plain.get_parameter(name))


def test_a_copy_of_a_compiled_network_is_masked():
    torch._dynamo.reset()
    model = net()
    HardMasks(model, {"0.weight": torch.zeros(8, 6, dtype=torch.bool)})
    torch.compile(model, backend="eager")(torch.ones(1, 6))
    clone = copy.deepcopy(model)
    train(clone, torch.compile(clone, backend="eager"), range(2))
    assert torch.all(clone[0].weight == 0)
