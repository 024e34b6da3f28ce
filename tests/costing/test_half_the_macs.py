"""The widths the latency benchmark measures: half of the MACs, and multiples where they are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from benchmarks.structured_latency import widths


@pytest.mark.parametrize("multiple", [1, 16])
def test_at_most_half_of_the_macs_stay_and_hardly_less(multiple: int) -> None:
    net = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 256), nn.Linear(256, 8)).eval()
    found = sc.trace(net, torch.zeros(2, 8))
    kept = widths(found, {axis.name: multiple for axis in found})
    assert all(n % multiple == 0 for n in kept.values())
    left = found.trace.macs({axis.var: range(kept[axis.name]) for axis in found})
    assert 0.4 < left / found.trace.macs() <= 0.5
    if multiple == 1:  # cut alike
        assert kept["0"] / 128 == pytest.approx(kept["2"] / 256, abs=0.02)
