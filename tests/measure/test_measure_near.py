"""Which width near an odd one is faster, on a stopwatch that pads channels to blocks."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from secateur.measure import compare
from secateur.measure.forward import Call
from secateur.measure.kernel import Kernel
from secateur.measure.near import Near, near_widths
from secateur.measure.table import LatencyTable


def blocks(size: int, dear: float) -> LatencyTable:
    """Seconds: channels padded to blocks, `dear` times that where there is padding."""

    def stopwatch(kernel: Kernel) -> float:
        outputs, inputs = list(kernel.specs())[1].shape[:2]
        padded = -(-outputs // size) * size * -(-inputs // size) * size
        return 1e-6 * padded * (dear if outputs % size or inputs % size else 1)

    return LatencyTable(stopwatch=stopwatch)


def test_the_nearest_width_that_is_faster_is_named() -> None:
    net = nn.Sequential(nn.Linear(16, 37), nn.ReLU(), nn.Linear(37, 16)).eval()
    found = near_widths(net, Call((torch.zeros(2, 16),), {}), ["0", "2"], blocks(8, 2.0))
    assert [(n.layer, n.side, n.width, n.better) for n in found] == [
        ("0", "outputs", 37, 40),
        ("2", "inputs", 37, 40),
    ]
    assert found[0].took == pytest.approx(2 * found[0].takes)
    assert str(found[0]) == "0 takes 1.28 ms with 37 outputs, 0.64 ms with 40"


def test_a_smaller_width_has_to_be_faster_per_channel() -> None:
    """33 of blocks of 16 cost what 48 do: 32 is the bargain, and 35 where time follows width is fine."""
    net, call = nn.Linear(16, 33), Call((torch.zeros(2, 16),), {})
    assert [n.better for n in near_widths(net, call, [""], blocks(16, 1.0))] == [32]
    assert near_widths(net, call, [""], blocks(1, 1.0)) == []


def test_even_widths_and_layers_with_groups_are_passed_over() -> None:
    net = nn.Sequential(nn.Conv2d(16, 24, 3), nn.Conv2d(24, 30, 3, groups=6)).eval()
    call = Call((torch.zeros(1, 16, 8, 8),), {})
    assert near_widths(net, call, ["0", "1"], blocks(8, 2.0)) == []


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(9, 17, 3, stride=2, padding=1, dilation=2, bias=False), (2, 9, 12, 12)),
        (nn.Conv1d(9, 17, 3, padding="same"), (2, 9, 12)),
        (nn.Conv3d(9, 17, 1), (9, 4, 4, 4)),
        (nn.Linear(9, 17), (2, 3, 9)),
    ],
)
def test_the_operator_that_is_timed_is_the_layers(layer: nn.Module, shape: tuple[int, ...]) -> None:
    made: list[torch.Size] = []

    def stopwatch(kernel: Kernel) -> float:
        made.append(kernel.runner(torch.device("cpu"))().shape)  # type: ignore[attr-defined]
        return 1.0

    table = LatencyTable(stopwatch=stopwatch)
    near_widths(layer, Call((torch.zeros(shape),), {}), [""], table)
    assert made[0] == layer(torch.zeros(shape)).shape


def test_a_comparison_says_it_where_the_promise_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = Near("0", "outputs", 37, 2.0, 40, 1.0)
    report = importlib.import_module("secateur.measure.report")
    monkeypatch.setattr(report, "near_widths", lambda *_: [near])
    a, b = (nn.Sequential(nn.Linear(16, n), nn.Linear(n, 16)) for n in (64, 37))
    slow = compare(a, b, torch.zeros(2, 16), pairs=2, timer=lambda run: 1.0)
    assert "timed alone: 0 takes 2 ms with 37 outputs, 1 ms with 40" in slow.reasons[-1]
