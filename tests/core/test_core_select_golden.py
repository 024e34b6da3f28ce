"""The one selection on eight weights, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from secateur.core.errors import NumberError, PlanError
from secateur.core.layout import along, one_group, whole
from secateur.core.select import select
from secateur.core.types import Groups, Member, Target
from secateur.scope import NM, Model, Row, Tensorwise

W = torch.tensor([[1.0, 5.0, 2.0, 2.0], [3.0, 0.0, 2.0, 4.0]])
TARGET = Target("w", "weights", (2, 4), (Member("w", whole((2, 4))),), ("out", "in"))


def kept(scores: torch.Tensor, groups: Groups, keep: list[int]) -> list[list[int]]:
    return select({"w": scores}, groups, torch.tensor(keep))["w"].int().tolist()


def test_tensor_scope_keeps_the_k_largest() -> None:
    groups = Tensorwise().groups((TARGET,))
    assert kept(W, groups, [3]) == [[0, 1, 0, 0], [1, 0, 0, 1]]


def test_ties_go_to_the_lower_index() -> None:
    groups = Tensorwise().groups((TARGET,))
    assert kept(W, groups, [4]) == [[0, 1, 1, 0], [1, 0, 0, 1]]  # the first of three twos
    assert kept(W, groups, [5]) == [[0, 1, 1, 1], [1, 0, 0, 1]]


def test_row_scope_has_a_budget_per_row() -> None:
    groups = Row().groups((TARGET,))
    assert kept(W, groups, [1, 3]) == [[0, 1, 0, 0], [1, 0, 1, 1]]


def test_two_of_four_consecutive_inputs() -> None:
    groups = NM().groups((TARGET,))
    assert groups.size.tolist() == [4, 4]
    assert kept(W, groups, [2, 2]) == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_n_of_m_in_a_convolution_runs_over_input_channels() -> None:
    """[out 1, in 4, k 2]: at each kernel position two of the four channels stay."""
    scores = torch.tensor([[[1.0, 8.0], [2.0, 7.0], [3.0, 6.0], [4.0, 5.0]]])
    target = Target("w", "weights", (1, 4, 2), (Member("w", whole((1, 4, 2))),), ("out", "in", "k"))
    groups = NM().groups((target,))
    assert groups.size.tolist() == [4, 4]
    mask = select({"w": scores}, groups, torch.tensor([2, 2]))["w"]
    assert mask.int().tolist() == [[[0, 1], [0, 1], [1, 0], [1, 0]]]


def test_n_of_m_where_the_input_comes_first() -> None:
    """A transposed convolution stores [in, out]; the runs still go along the inputs."""
    target = Target("w", "weights", (2, 4), (Member("w", whole((2, 4))),), ("in", "out"))
    groups = NM(n=1, m=2).groups((target,))
    mask = select({"w": W}, groups, torch.tensor([1, 1, 1, 1]))["w"]
    assert mask.int().tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_model_scope_compares_across_tensors_in_their_order() -> None:
    shapes = {"a": (2, 2), "b": (4,)}
    targets = tuple(
        Target(n, "weights", s, (Member(n, whole(s)),), ("out", "in")[: len(s)])
        for n, s in shapes.items()
    )
    scores = {"a": torch.tensor([[1.0, 2.0], [3.0, 2.0]]), "b": torch.tensor([2.0, 9.0, 0.0, 2.0])}
    masks = select(scores, Model().groups(targets), torch.tensor([4]))
    assert masks["a"].int().tolist() == [[0, 1], [1, 1]]  # 9, 3, then the first two of the twos
    assert masks["b"].int().tolist() == [0, 1, 0, 0]


def test_infinities_go_last_and_first() -> None:
    scores = torch.tensor([[-math.inf, 1.0, math.inf, 0.0], [-math.inf, 2.0, math.inf, 3.0]])
    groups = Tensorwise().groups((TARGET,))
    assert kept(scores, groups, [2]) == [[0, 0, 1, 0], [0, 0, 1, 0]]
    assert kept(scores, groups, [7]) == [[1, 1, 1, 1], [0, 1, 1, 1]]


def test_all_equal_keeps_the_first() -> None:
    groups = Tensorwise().groups((TARGET,))
    assert kept(torch.zeros(2, 4), groups, [3]) == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert kept(torch.tensor([[0.0, -0.0, 0.0, -0.0]] * 2), groups, [1])[0] == [1, 0, 0, 0]


@pytest.mark.parametrize(("keep", "expected"), [([0], 0), ([8], 8)])
def test_none_and_all(keep: list[int], expected: int) -> None:
    assert sum(map(sum, kept(W, Tensorwise().groups((TARGET,)), keep))) == expected


def test_empty_targets_and_groups_are_carried_through() -> None:
    empty = Groups(
        {"e": one_group((0,)), "w": one_group((2,))}, {"e": 0, "w": 0}, torch.tensor([2])
    )
    masks = select({"e": torch.zeros(0), "w": torch.ones(2)}, empty, torch.tensor([1]))
    assert masks["e"].shape == (0,)
    assert masks["w"].tolist() == [True, False]
    nothing = Groups({"e": along((0, 4), 0)}, {"e": 0}, torch.zeros(0, dtype=torch.long))
    assert select({"e": torch.zeros(0, 4)}, nothing, nothing.size)["e"].shape == (0, 4)
    hollow = Groups({"e": along((3, 0), 0)}, {"e": 0}, torch.zeros(3, dtype=torch.long))
    assert select({"e": torch.zeros(3, 0)}, hollow, hollow.size)["e"].shape == (3, 0)


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(NumberError, match="'w' is NaN"):
        kept(W.index_fill(1, torch.tensor(2), math.nan), Tensorwise().groups((TARGET,)), [3])


@pytest.mark.parametrize("keep", [[-1], [9], [1, 1]])
def test_budgets_that_do_not_fit_are_refused(keep: list[int]) -> None:
    with pytest.raises(PlanError, match="do not fit"):
        kept(W, Tensorwise().groups((TARGET,)), keep)


def test_more_ties_than_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties are broken chunk by chunk from the right; the seams must not show."""
    monkeypatch.setattr("secateur.core.select.CHUNK", 3)
    target = Target("w", "weights", (2, 10), (Member("w", whole((2, 10))),), ("out", "in"))
    scores = torch.tensor([[1.0, 2, 2, 1, 2, 2, 2, 3, 2, 2], [0.0] * 10])
    mask = select({"w": scores}, Row().groups((target,)), torch.tensor([5, 7]))["w"]
    assert mask.int().tolist() == [[0, 1, 1, 0, 1, 1, 0, 1, 0, 0], [1] * 7 + [0] * 3]
