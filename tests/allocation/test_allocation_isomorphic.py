"""Structures of one make share among themselves."""

from dataclasses import replace

import torch
from torch import nn

from secateur.allocation import Isomorphic, ModelWide
from secateur.allocation.isomorphic import make_of
from secateur.engine.view import ModelView
from secateur.scope import Tensorwise
from secateur.structure import Coupled


class Net(nn.Module):
    """Two chains of convolutions of different widths and one pair of linear layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(1, 4, 1),
            nn.Conv2d(4, 8, 3, padding=1),
            nn.Conv2d(8, 3, 1),
        )
        self.d, self.e = nn.Linear(3, 12), nn.Linear(12, 2)

    def forward(self, x):
        x = self.c(self.b(self.a(x).relu()).relu()).mean((2, 3))
        return self.e(self.d(x).relu())


def setting():
    torch.manual_seed(0)
    net = Net()
    targets = {
        t.name: t for t in Coupled(include=("a", "b", "d")).targets(net, torch.zeros(2, 1, 4, 4))
    }
    view = ModelView(net, tuple(targets.values()))
    return targets, view, Tensorwise().groups(view.targets)


def test_two_convolutions_are_of_one_make_and_linear_layers_of_another():
    targets, view, _ = setting()
    assert make_of(targets["a"], view) == make_of(targets["b"], view) != make_of(targets["d"], view)
    shorter = replace(targets["a"], members=targets["a"].members[:-1])
    assert make_of(shorter, view) != make_of(targets["a"], view)


def test_each_make_keeps_its_share_by_one_ranking():
    """12 channels keep 6 and 12 neurons 6, though every neuron scores above every channel."""
    targets, view, groups = setting()
    scores = {
        "a": torch.tensor([9.0, 1.0, 8.0, 7.0]),
        "b": torch.arange(8.0),
        "d": torch.full((12,), 100.0),
    }
    keep = dict(zip(targets, Isomorphic().keep(scores, groups, 0.5, view).tolist(), strict=True))
    assert keep == {"a": 3, "b": 3, "d": 6}  # 9 8 7 7 6 5 of the channels
    assert ModelWide().keep(scores, groups, 0.5, view).tolist() == [0, 0, 12]
    assert Isomorphic(floor=4).keep(scores, groups, 0.5, view).tolist()[:2] == [4, 4]
