"""Sweet spots on stopwatches whose blocks are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.costing import LatencyCost, SweetSpots, sweet_spots
from secateur.measure.kernel import Kernel
from secateur.measure.table import LatencyTable


def spots(block: int, *widths: int) -> SweetSpots:
    """Of a perceptron on a machine that pads channels to blocks."""

    def stopwatch(kernel: Kernel) -> float:
        if kernel.operator != "aten.linear.default":
            return 1e-9
        outputs, inputs = list(kernel.specs())[1].shape
        return float(-(-outputs // block) * -(-inputs // block))

    pairs = zip((64, *widths), (*widths, 64), strict=True)
    net = nn.Sequential(*(nn.Linear(a, b) for a, b in pairs)).eval()
    found = sc.trace(net, torch.zeros(2, 64))
    return sweet_spots(found, LatencyCost(found, LatencyTable(stopwatch=stopwatch), 1.0))


@pytest.mark.parametrize("block", [1, 8, 16, 32])
def test_the_block_of_the_kernels_is_found(block: int) -> None:
    found = spots(block, 64, 64)
    assert dict(found) == {"0": block, "1": block}
    assert found.common == block


def test_in_a_wide_layer_a_small_block_more_or_less_does_not_matter() -> None:
    assert dict(spots(4, 512)) == {"0": 1}


def test_a_narrow_structure_is_tried_at_the_multiples_it_has() -> None:
    assert dict(spots(8, 16)) == {"0": 8}
    assert dict(spots(4, 9)) == {"0": 4}
    assert dict(spots(4, 3)) == {"0": 1}


def test_one_multiple_for_all_is_that_of_half_of_the_time() -> None:
    waste: dict[str, dict[int, float]] = {}
    found = SweetSpots({"a": 8, "b": 16, "c": 1, "d": 32}, waste, {"a": 2, "b": 5, "c": 9, "d": 2})
    assert found.common == 16
    assert str(found).splitlines()[-1] == "one multiple for all: 16"
    assert SweetSpots({}, {}, {}).common == 1
