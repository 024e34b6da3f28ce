"""Single weights."""

from __future__ import annotations

import pytest
from torch import nn

from secateur.core.errors import PlanError
from secateur.structure import Weights


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 8, 2), nn.Linear(8, 6))


def test_one_target_per_weight_every_element_a_unit() -> None:
    targets = Weights(classifier=True).targets(model())
    assert [t.name for t in targets] == ["0.weight", "1.weight", "2.weight"]
    assert [t.shape for t in targets] == [(4, 3, 3, 3), (4, 8, 2, 2), (6, 8)]
    assert [t.dims for t in targets] == [
        ("out", "in", "k", "k"), ("in", "out", "k", "k"), ("out", "in"),
    ]  # fmt: skip
    assert [t.units for t in targets] == [108, 128, 48]
    assert [t.layer for t in targets] == ["0", "1", "2"]
    assert all(t.kind == "weights" and t.exact for t in targets)
    assert all(m.layout.size == 1 for t in targets for m in t.members)


def test_the_classifier_is_left_out() -> None:
    assert [t.name for t in Weights().targets(model())] == ["0.weight", "1.weight"]


def test_patterns_need_a_multiple_of_inputs() -> None:
    fitting = Weights(classifier=True, inputs_multiple_of=4).targets(model())
    assert [t.name for t in fitting] == ["1.weight", "2.weight"]  # 4 and 8 inputs; the stem has 3
    with pytest.raises(PlanError, match="no weight has a multiple of 7 inputs"):
        Weights(inputs_multiple_of=7).targets(model())
