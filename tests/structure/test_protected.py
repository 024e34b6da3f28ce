"""Repeated blocks are found, and the first and last ones can be left alone."""

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.core.stack import repeated_blocks
from secateur.structure import Protected, Rows


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Linear(4, 9), nn.Linear(9, 4)

    def forward(self, x):
        return x + self.narrow(torch.relu(self.wide(x)))


class Stack(nn.Module):
    def __init__(self, depth=5):
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.start, self.blocks, self.end = nn.Linear(4, 4), nn.ModuleList(), nn.Linear(4, 2)
        self.blocks.extend(Block() for _ in range(depth))

    def forward(self, x):
        x = self.start(x)
        for block in self.blocks:
            x = block(x)
        return self.end(x)


def test_the_largest_stack_of_equal_modules():
    assert repeated_blocks(Stack()) == [f"blocks.{i}" for i in range(5)]
    assert repeated_blocks(Stack().blocks) == ["0", "1", "2", "3", "4"]
    assert repeated_blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == []


def layers(structure):
    return {t.layer for t in structure.targets(Stack(), torch.zeros(2, 4))}


def test_protected_blocks_lose_nothing():
    every = layers(Rows())
    found = layers(Protected(inner=Rows(), first=2, last=1))
    gone = {f"blocks.{i}.{part}" for i in (0, 1, 4) for part in ("wide", "narrow")}
    assert every - found == gone
    assert layers(Protected(inner=Rows())) == every


def test_too_many_are_refused():
    with pytest.raises(PlanError, match="4 first and 2 last blocks are protected"):
        layers(Protected(inner=Rows(), first=4, last=2))
