"""Tracing, shrinking, proving, saving and measuring a network that lies on a GPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.measure import compare_latency, peak_memory
from secateur.models import build_seeded
from secateur.structure.graph.errors import TraceError
from tests.cuda.place import DEVICE, agreement, placed_on
from tests.structural.test_structural_shrink import NETWORKS, outputs

ON_GPU = pytest.mark.skipif(DEVICE != "cuda", reason="measures a GPU")


def moved(example: Any, device: str) -> Any:
    if isinstance(example, dict):
        return {name: value.to(device) for name, value in example.items()}
    if isinstance(example, tuple):
        return tuple(value.to(device) for value in example)
    return example.to(device)


@pytest.mark.parametrize("name", NETWORKS)
def test_traced_shrunk_proved_saved_and_loaded(name: str, tmp_path: Path) -> None:
    dense, example = NETWORKS[name]()
    there, given = copy.deepcopy(dense).to(DEVICE), moved(example, DEVICE)
    traces = [str(sc.trace(dense, example)), str(sc.trace(there, given))]
    assert traces[0] == traces[1]
    results = [
        sc.prune(net, "group-norm", density=0.5, example=x)
        for net, x in ((dense, example), (there, given))
    ]
    assert agreement(results[0].units, results[1].units) == 1
    small = sc.shrink(results[1], given)
    assert small.record["difference"] < 1e-5
    assert placed_on(small.model, DEVICE)
    wanted = outputs(results[1].model, given)
    assert torch.allclose(outputs(small.model, given), wanted, rtol=1e-3, atol=1e-4)
    sc.save(small, tmp_path / "small")
    loaded = sc.load(tmp_path / "small")
    assert placed_on(loaded, "cpu")
    assert torch.allclose(outputs(loaded, example), wanted.cpu(), rtol=1e-3, atol=1e-4)
    sc.save(results[1], tmp_path / "masked")
    assert torch.allclose(
        outputs(sc.load(tmp_path / "masked"), example), wanted.cpu(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.skipif(DEVICE == "cpu", reason="needs two devices")
def test_an_example_elsewhere_is_an_error_that_says_so() -> None:
    dense, example = NETWORKS["resnet20"]()
    with pytest.raises(TraceError, match="lies on cpu, the model on cuda"):
        sc.trace(dense.to(DEVICE), example)


def resnet(device: str = DEVICE) -> tuple[nn.Module, Tensor]:
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    return model.eval().to(device), torch.randn(8, 3, 32, 32, device=device)


@pytest.mark.parametrize(
    "budget",
    [{"macs": "50%"}, {"parameters": "60%"}, pytest.param({"latency": "90%"}, marks=ON_GPU)],
)
def test_budgets(budget: dict[str, str]) -> None:
    model, x = resnet()
    x = x.repeat(64, 1, 1, 1) if "latency" in budget else x  # launches alone take long for a few
    result = sc.prune(model, "l1-filters", example=x, budget=budget)
    (told,) = result.record["budget"].values()
    assert told["left"] <= 1.1 * told["whole"]
    assert sc.shrink(result, x).record["difference"] < 1e-5


def test_batch_norms_are_folded() -> None:
    model, x = resnet()
    wanted = outputs(model, x)
    assert torch.allclose(outputs(sc.fold_batch_norms(model, x), x), wanted, atol=1e-3)


@ON_GPU
def test_the_clock_is_the_gpus() -> None:
    """A product of 4096 takes the GPU far longer than its launch takes the CPU."""
    small, large = (nn.Linear(n, n, bias=False).to(DEVICE) for n in (64, 8192))
    x = torch.randn(4096, 8192, device=DEVICE)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x[:64, :64])

    (found,) = compare_latency(large, Cut(), x, pairs=5)
    assert found.setting.device.startswith("cuda")
    operations = 2 * 4096 * 8192**2
    assert operations / 100e12 < found.a < operations / 5e12  # 5 to 100 TFLOP/s in float32
    assert found.speedup.ratio > 5


@ON_GPU
def test_the_peak_is_what_the_allocator_saw() -> None:
    wide = nn.Sequential(
        nn.Linear(1024, 4096, bias=False), nn.ReLU(), nn.Linear(4096, 1024, bias=False)
    )
    memory = peak_memory(wide.to(DEVICE), torch.randn(2048, 1024, device=DEVICE))
    hidden = 4 * 2048 * 4096
    assert memory.weights == 4 * 2 * 1024 * 4096
    assert 2 * hidden <= memory.working < 3.5 * hidden  # before and after the ReLU, and the output


@ON_GPU
def test_a_comparison_is_of_everything() -> None:
    model, x = resnet()
    small = sc.shrink(sc.prune(model, "l1-filters", density=0.5, example=x), x).model
    found = sc.measure(small, x, against=model, pairs=5)
    assert "cuda" in str(found)


def test_a_trained_loss_falls_and_the_smaller_network_goes_on(tmp_path: Path) -> None:
    model, x = resnet()
    y = torch.arange(8, device=DEVICE) % 10
    small = sc.shrink(sc.prune(model, "taylor-2019", density=0.6, data=(x, y), example=x), x).model
    optimizer, losses = torch.optim.SGD(small.train().parameters(), lr=0.05), []
    for _ in range(8):
        loss = F.cross_entropy(small(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_exports_of_a_network_on_the_gpu(suffix: str, tmp_path: Path) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    model, x = resnet()
    sc.export(model, tmp_path / f"net.{suffix}", example=x)
    assert (tmp_path / f"net.{suffix}").stat().st_size > 0
