"""The `masks` answer: zeros written into the network."""

from __future__ import annotations

import torch
from torch import nn

from secateur.core.axes import Materialiser
from secateur.core.component import from_dict
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target
from secateur.materialise import Masks


def test_zeros_are_written_into_parameters_and_buffers_a_target_owns():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    nn.init.constant_(model[1].running_mean, 5.0)
    nn.init.constant_(model[0].weight, float("nan"))
    rows = Target(
        "rows", "channels", (3,),
        (Member("0.weight", along((3, 2), 0)), Member("0.bias", whole((3,))),
         Member("1.running_mean", whole((3,)))),
    )  # fmt: skip
    same = Masks().apply(model, (rows,), {"rows": torch.tensor([True, False, True])})
    assert same is model
    assert model[0].weight[1].tolist() == [0, 0]
    assert bool(model[0].weight[[0, 2]].isnan().all())
    assert model[1].running_mean.tolist() == [5, 0, 5]
    assert model[0].bias[1] == 0


def test_it_goes_by_its_name():
    assert from_dict(Materialiser, "masks") == Masks()
