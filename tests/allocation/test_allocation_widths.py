"""Multiples, floors, caps and protection: by hand, and against every possible choice."""

from __future__ import annotations

import random
from itertools import product

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.allocation import Bounded, Uniform, Widths
from secateur.allocation.multiples import nearest, permitted
from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.types import Member, Target, keep_all
from secateur.engine.view import ModelView
from secateur.scope import Tensorwise


def view(units: dict[str, int], kinds: dict[str, str] | None = None) -> ModelView:
    net = nn.ModuleDict({name: nn.Linear(1, n) for name, n in units.items()})
    targets = tuple(
        Target(
            n, (kinds or {}).get(n, "channels"), (u,),
            (Member(f"{n}.weight", along((u, 1), 0)),), layer=n,
        )
        for n, u in units.items()
    )  # fmt: skip
    return ModelView(net, targets, keep_all(targets))


def keep(allocator: Widths, density: float, seen: ModelView) -> list[int]:
    scores = {t.name: torch.arange(t.units).float() for t in seen.targets}
    scores = {n: s.masked_fill(~seen.masks[n], -torch.inf) for n, s in scores.items()}
    groups = Tensorwise().groups(seen.targets)
    return allocator.keep(scores, groups, density, seen).tolist()


@pytest.mark.parametrize("seed", range(60))
def test_no_choice_of_permitted_numbers_is_nearer(seed: int) -> None:
    """First in all, then one by one, against every combination."""
    rng = random.Random(seed)
    rows, wanted = [], []
    for _ in range(rng.randint(1, 4)):
        most = rng.randint(1, 40)
        least = rng.randint(0, most)
        rows.append(permitted(rng.choice([1, 3, 4, 8]), least, most))
        wanted.append(rng.randint(least, most))
    got = nearest(wanted, rows)
    total = sum(wanted)

    def badness(values: tuple[int, ...]) -> tuple[int, bool, int]:
        off = sum(values) - total
        return abs(off), off > 0, sum(abs(v - w) for v, w in zip(values, wanted, strict=True))

    assert all(v in row for v, row in zip(got, rows, strict=True))
    assert badness(tuple(got)) == min(badness(values) for values in product(*rows))


def test_many_layers_take_no_time_and_hit_the_total() -> None:
    rows = [permitted(8, 1, 512)] * 60
    wanted = [(37 * i) % 505 + 7 for i in range(60)]
    got = nearest(wanted, rows)
    assert abs(sum(got) - sum(wanted)) <= 4
    assert max(abs(v - w) for v, w in zip(got, wanted, strict=True)) <= 8


def test_multiples_of_eight_of_channels_whole_heads_and_a_width_that_is_none() -> None:
    """Half of 32, 30, 6, 12: 16 and 15 channels become 16 and 16; 6 are no 8; heads as they come."""
    seen = view({"a": 32, "b": 30, "c": 6, "h": 12}, {"h": "heads"})
    got = keep(Widths(inner=Uniform(), round_to=8), 0.5, seen)
    assert got[0] % 8 == 0
    assert got[1] in (8, 16, 24, 30)
    assert got[2] in (0, 6)
    assert sum(got) == 40, "heads make up for what multiples cannot"


def test_a_second_time_widths_that_are_no_multiples_may_stay() -> None:
    seen = view({"a": 32, "b": 32})
    seen.masks = {"a": torch.arange(32) < 13, "b": torch.ones(32, dtype=torch.bool)}
    assert keep(Widths(inner=Uniform(), round_to=8), 45 / 64, seen) == [13, 32]
    assert keep(Widths(inner=Uniform(), round_to=8), 24 / 64, seen) in ([8, 16], [13, 8])


def test_floors_caps_and_protection_hold_and_others_give_the_rest() -> None:
    seen = view({"stem": 16, "a": 32, "b": 32, "c": 32})
    allocator = Widths(
        inner=Bounded(inner=Uniform(), floor=1), floors={"a": 24}, caps={"b": 0.25},
        protect=("stem",),
    )  # fmt: skip
    got = keep(allocator, 80 / 112, seen)
    assert sum(got) == 80
    assert got[0] == 16
    assert got[1] >= 24
    assert got[2] >= 24
    assert got[3] == 80 - sum(got[:3]) >= 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "asks for nothing"),
        ({"round_to": 0}, "greater than or equal to 1"),
        ({"floors": {"a": 1.5}}, "whole number of units"),
        ({"caps": {"a": 2.0}}, "less than or equal to 1"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Widths(inner=Uniform(), **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"protect": ("conv*",)}, "unknown layer 'conv\\*'"),
        ({"floors": (("*", 2), ("a", 3))}, "would never be used"),
        ({"round_to": 8, "protect": ("*",)}, "closest possible is 64"),
        ({"caps": {"a": 0.1}, "floors": {"b": 30}}, "closest possible is 59"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        keep(Widths(inner=Uniform(), **options), 0.5, view({"a": 32, "b": 32}))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU(),
        nn.Conv2d(20, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


EXAMPLE = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize("method", ["l1-filters", "group-norm", "isomorphic"])
def test_every_structured_method_takes_them_and_the_network_has_those_widths(method: str) -> None:
    by = {"by": "magnitude"} if method == "isomorphic" else {}
    result = sc.prune(
        net(), method, example=EXAMPLE, density=0.5, round_to=8, protect="0", floors={"6": 16}, **by
    )
    kept = {name: int(mask.sum()) for name, mask in result.units.items()}
    assert kept["0"] == 20
    assert kept["3"] % 8 == kept["6"] % 8 == 0
    assert kept["6"] >= 16
    small = sc.shrink(result, EXAMPLE)
    assert small.model[3].out_channels == kept["3"]
    assert small.record["difference"] < 1e-5


def test_a_recipe_with_widths_is_plain_data_and_one_for_weights_is_refused() -> None:
    recipe = sc.recipe("group-norm", round_to=8, floors={"a": 0.5}, protect=["b"])
    assert sc.Recipe.loads(recipe.dumps()) == recipe
    with pytest.raises(PlanError, match="widths belong to layers"):
        sc.recipe("snip", density=0.5, round_to=8)
