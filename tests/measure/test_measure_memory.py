"""The peak of a forward pass, exact where every allocation is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.measure import peak_memory
from secateur.measure.memory import highest
from secateur.measure.tally import countable

KIB = 1024


class Chain(nn.Module):
    """`steps` element-wise operators; the result of each replaces the one before it."""

    def __init__(self, steps: int, hold: bool = False) -> None:
        super().__init__()
        self.steps, self.hold = steps, hold

    def forward(self, x: Tensor) -> Tensor:
        held = []
        for _ in range(self.steps):
            x = x + 1
            held.append(x) if self.hold else None
        return x


@pytest.mark.parametrize(("steps", "hold", "tensors"), [(1, False, 1), (5, False, 2), (5, True, 5)])
def test_peaks_of_elementwise_chains(steps: int, hold: bool, tensors: int) -> None:
    memory = peak_memory(Chain(steps, hold), torch.zeros(256 * KIB // 4))
    assert memory.working == pytest.approx(tensors * 256 * KIB, abs=KIB)
    assert memory.weights == 0
    assert "allocat" in memory.counted


def test_weights_and_buffers_count_once() -> None:
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("view", model[0].weight.detach()[0])
    memory = peak_memory(model, torch.zeros(1, 64))
    assert memory.weights == 4 * 64 * 64
    assert memory.peak == memory.weights + memory.working


def test_a_perceptron_holds_what_it_computes_and_a_narrower_one_less() -> None:
    wide, narrow = (
        nn.Sequential(nn.Linear(8, width, bias=False), nn.ReLU(), nn.Linear(width, 8, bias=False))
        for width in (512, 256)
    )
    x = torch.zeros(64, 8)
    hidden = 4 * 64 * 512  # before and after the ReLU
    assert peak_memory(wide, x).working == pytest.approx(2 * hidden, rel=0.05)
    assert peak_memory(narrow, x).working == pytest.approx(hidden, rel=0.05)


def test_the_work_space_of_an_operator_counts() -> None:
    unfolding = nn.Conv2d(3, 4, 5)
    with countable():  # without oneDNN a convolution unfolds its input into columns
        memory = peak_memory(unfolding, torch.zeros(1, 3, 32, 32))
    columns, output = 4 * (3 * 5 * 5) * 28 * 28, 4 * 4 * 28 * 28
    assert memory.working == pytest.approx(columns + output, rel=0.02)


def test_the_model_is_left_as_it_was_and_nothing_is_printed(capfd: pytest.CaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    peak_memory(model, torch.randn(8, 4))
    assert model.training
    assert model[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert capfd.readouterr() == ("", "")


def test_an_example_that_does_not_fit_is_shown() -> None:
    with pytest.raises(DataError, match=r"\(1, 5\)"):
        peak_memory(nn.Linear(4, 2), torch.ones(1, 5))
    with pytest.raises(DataError, match=r"\(1, 4\) torch.int64"):
        peak_memory(nn.Linear(4, 2), torch.ones(1, 4).long())


def test_highest_running_sum() -> None:
    assert highest([]) == 0
    assert highest([-5, 3]) == 0
    assert highest(iter([4, -4, 3, 3, -6])) == 6
