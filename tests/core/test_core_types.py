"""Targets, groups and masks as plain data."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from secateur.core.axes import ElementCriterion, View, pool
from secateur.core.layout import Layout, along, one_group, whole
from secateur.core.types import Groups, Health, Member, Target, element_masks, keep_all

ROWS = Target(
    "rows", "rows", (2,), (Member("w", along((2, 3), 0)), Member("b", along((2,), 0))), ("out",)
)
COLUMNS = Target("cols", "rows", (3,), (Member("w", along((2, 3), 1)),), ("in",))
SHAPES = {"w": torch.Size((2, 3)), "b": torch.Size((2,))}


def test_groups_know_the_group_of_every_unit() -> None:
    groups = Groups(
        {"a": along((2, 3), 1), "b": one_group((2,))}, {"a": 0, "b": 3}, torch.tensor([2, 2, 2, 2])
    )
    assert groups.ids("a").tolist() == [0, 1, 2, 0, 1, 2]
    assert groups.ids("b").tolist() == [3, 3]
    assert not groups.shared
    masks = {"a": torch.tensor([[True, False, True], [True, False, False]]), "b": torch.ones(2) > 0}
    assert groups.count(masks).tolist() == [2, 0, 1, 2]


def test_merged_groups_hold_the_same_units_in_the_same_order() -> None:
    groups = Groups(
        {"a": along((2, 3), 1), "b": one_group((2,))}, {"a": 0, "b": 3}, torch.tensor([2, 2, 2, 2])
    )
    one = groups.merged()
    assert one.size.tolist() == [8]
    assert one.ids("a").tolist() == [0] * 6
    assert one.shared
    masks = {"a": torch.tensor([[True, False, True], [True, False, False]]), "b": torch.ones(2) > 0}
    assert one.count(masks).tolist() == [5]


def test_an_element_stays_only_if_every_unit_that_owns_it_stays() -> None:
    masks = {"rows": torch.tensor([True, False]), "cols": torch.tensor([False, True, True])}
    got = element_masks((ROWS, COLUMNS), masks, SHAPES)
    assert got["w"].int().tolist() == [[0, 1, 1], [0, 0, 0]]
    assert got["b"].tolist() == [True, False]


def test_a_run_starts_with_everything() -> None:
    masks = keep_all((ROWS, COLUMNS))
    assert {n: m.tolist() for n, m in masks.items()} == {"rows": [True] * 2, "cols": [True] * 3}


def test_health() -> None:
    assert not Health().collapsed
    assert Health(empty=["fc"]).collapsed
    assert Health(unreachable=["fc"]).collapsed


class Values(ElementCriterion):
    """The elements' own values."""

    name: ClassVar[str] = "test-values"

    def elements(self, view: View, param: str) -> torch.Tensor:
        values = {"w": [[1.0, -2.0, 3.0], [0.0, 4.0, 0.0]], "b": [2.0, -1.0]}
        return torch.tensor(values[param])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("sum", [4.0, 3.0]), ("mean", [1.0, 0.75]), ("norm", [18**0.5, 17**0.5]), ("max", [3.0, 4.0])],
)
def test_units_pool_their_elements_over_all_members(how: str, expected: list[float]) -> None:
    score = Values(pool=how).score(None, ROWS)  # type: ignore[arg-type]
    torch.testing.assert_close(score, torch.tensor(expected))


def test_single_weights_are_not_pooled() -> None:
    target = Target("w", "weights", (2, 3), (Member("w", whole((2, 3))),))
    score = Values(pool="max").score(None, target)  # type: ignore[arg-type]
    assert score.tolist() == [[1.0, -2.0, 3.0], [0.0, 4.0, 0.0]]
    swapped = Target("w", "weights", (3, 2), (Member("w", Layout((2, 3), (1, 0), lead=2)),))
    score = Values().score(None, swapped)  # type: ignore[arg-type]
    assert score.tolist() == [[1.0, 0.0], [-2.0, 4.0], [3.0, 0.0]]


def test_half_precision_is_pooled_in_float32() -> None:
    """4096 ones sum to 4096 and not to 256, where bfloat16 stops counting."""
    ones = torch.ones(1, 4096, dtype=torch.bfloat16)

    class Ones(ElementCriterion):
        """All one."""

        name: ClassVar[str] = "test-ones"

        def elements(self, view: View, param: str) -> torch.Tensor:
            return ones

    target = Target("w", "rows", (1,), (Member("w", along((1, 4096), 0)),))
    score = Ones().score(None, target)  # type: ignore[arg-type]
    assert score.dtype == torch.float32
    assert score.tolist() == [4096.0]
    assert pool(ones.float(), "norm").tolist() == [64.0]
