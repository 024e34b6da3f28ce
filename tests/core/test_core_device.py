"""Devices by name, structures of tensors moved as a whole, and batches that come to a device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.batches import as_batches
from secateur.core.device import pick_device, place_buffers, placed
from secateur.core.errors import PlanError


def test_a_device_that_is_not_here_is_an_error_that_says_what_is() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(PlanError, match=r"^device 'hip:9' is not here: .{,200}; use auto or cpu$"):
        pick_device("hip:9")


def test_structures_move_as_a_whole() -> None:
    x = torch.ones(2)
    found = placed({"x": (x, [x]), "n": 3}, "meta")
    assert found["x"][0].is_meta
    assert found["x"][1][0].is_meta
    assert found["n"] == 3
    assert not x.is_meta


def test_buffers_move_and_parameters_stay() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2))
    place_buffers(net, "meta")
    assert all(buffer.is_meta for buffer in net.buffers())
    assert not any(p.is_meta for p in net.parameters())
    place_buffers(net, "cpu")  # what has no values cannot move back
    assert all(buffer.is_meta for buffer in net.buffers())


@pytest.mark.parametrize("kind", ["pair", "dict", "list"])
def test_batches_come_to_the_device_and_the_data_stay(kind: str) -> None:
    x, y = torch.randn(6, 3), torch.arange(6)
    data = {
        "pair": (x, y),
        "dict": {"input_ids": y[:, None], "labels": y[:, None]},
        "list": [(x, y)],
    }
    made = as_batches(data[kind], 4, 0, shuffle=False, device=torch.device("meta"))
    assert made.steps_per_epoch == (1 if kind == "list" else 2)
    for batch in (*made, *made.epoch(0, 0)):
        tensors = batch.values() if isinstance(batch, dict) else batch
        assert all(tensor.is_meta for tensor in tensors)
    assert len(list(made.epoch(0, 1))) == made.steps_per_epoch - 1
    assert not x.is_meta
    near = as_batches(data[kind], 4, 0, shuffle=False, device=torch.device("cpu"))
    first = next(iter(near))
    assert not any(t.is_meta for t in (first.values() if isinstance(first, dict) else first))
