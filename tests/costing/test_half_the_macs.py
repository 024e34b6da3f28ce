"""The networks the latency benchmark measures: half of the MACs by a method, multiples where asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from benchmarks.structured_latency import halved


@pytest.mark.parametrize("multiple", [1, 16])
def test_at_most_half_of_the_macs_stay_and_hardly_less(multiple: int) -> None:
    net = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 256), nn.Linear(256, 8)).eval()
    x = torch.randn(4, 8)
    small, kept = halved(net, x, "group-norm", multiple)
    assert [kept["0"], kept["2"]] == [small[0].out_features, small[2].out_features]
    assert all(n % multiple == 0 for n in kept.values())
    left = sc.measure(small, x).macs.total / sc.measure(net, x).macs.total
    assert 0.4 < left <= 0.5
