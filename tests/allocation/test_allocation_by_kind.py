"""Neurons among neurons, heads among heads; and impossible totals refused before any work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.allocation import Bounded, ModelWide, Uniform
from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.types import Member, Target, keep_all
from secateur.engine.view import ModelView
from secateur.scope import Tensorwise


def view() -> ModelView:
    """Ten and six neurons, four and four heads."""
    net = nn.ModuleDict({n: nn.Linear(1, u) for n, u in zip("abcd", (10, 6, 4, 4), strict=True)})
    kinds = ("neurons", "neurons", "heads", "heads")
    targets = tuple(
        Target(n, kind, (len(m.weight),), (Member(f"{n}.weight", along(tuple(m.weight.shape), 0)),))
        for (n, m), kind in zip(net.items(), kinds, strict=True)
    )
    return ModelView(net, targets, keep_all(targets))


SCORES = {
    "a": torch.arange(10.0),
    "b": torch.arange(6.0) + 100,
    "c": torch.arange(4.0) + 1000,
    "d": torch.arange(4.0) + 2000,
}


def keep(allocator: ModelWide, density: float) -> list[int]:
    seen = view()
    return allocator.keep(SCORES, Tensorwise().groups(seen.targets), density, seen).tolist()


def test_all_kinds_together_take_the_lowest_scores() -> None:
    assert keep(ModelWide(), 0.5) == [0, 4, 4, 4]


def test_each_kind_keeps_its_share() -> None:
    """Twelve of 24: eight of sixteen neurons, four of eight heads."""
    assert keep(ModelWide(by_kind=True), 0.5) == [2, 6, 0, 4]


def test_bounds_hold_within_a_kind_and_the_total_is_exact() -> None:
    """No layer loses more than half: five neurons and two heads stay everywhere."""
    assert keep(ModelWide(by_kind=True, cap=0.5), 0.5) == [5, 3, 2, 2]
    assert keep(ModelWide(by_kind=True, floor=1), 0.5) == [2, 6, 1, 3]


def test_what_one_kind_cannot_give_the_other_does() -> None:
    """A floor of four keeps all heads, so the six that go are neurons; four of each layer stay."""
    assert keep(ModelWide(by_kind=True, floor=4), 0.75) == [4, 6, 4, 4]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("allocator", [ModelWide(cap=0.4), Bounded(inner=Uniform(), cap=0.4)])
def test_an_impossible_total_is_said_before_anything_happens(
    allocator: ModelWide | Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = sc.recipe("l1-filters", density=0.5, kinds=("neurons",))
    recipe = recipe.model_copy(update={"allocator": allocator})
    example = torch.zeros(2, 4)
    with pytest.raises(PlanError, match="closest possible is 10, density 62"):
        sc.plan(net(), recipe, example)
    monkeypatch.setattr(
        "secateur.engine.pruning.collect.collect", lambda *a, **k: pytest.fail("collected")
    )
    with pytest.raises(PlanError, match="closest possible"):
        sc.prune(net(), recipe, example=example)
