"""Groups of each scope, unit by unit, and what they refuse."""

from __future__ import annotations

import pytest

from secateur.core.errors import PlanError
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target
from secateur.scope import NM, Model, Row, Tensorwise


def weights(name: str, shape: tuple[int, ...], *dims: str) -> Target:
    return Target(name, "weights", shape, (Member(name, whole(shape)),), dims)


LINEAR = weights("fc", (2, 4), "out", "in")
CONV = weights("conv", (2, 4, 2), "out", "in", "k")
TRANSPOSED = weights("up", (4, 2), "in", "out")
ROWS = Target("fc[rows]", "rows", (2,), (Member("fc", along((2, 4), 0)),), ("out",))


def test_one_group_for_the_model() -> None:
    groups = Model().groups((LINEAR, CONV))
    assert groups.size.tolist() == [24]
    assert groups.shared
    assert groups.ids("fc").tolist() == [0] * 8
    assert groups.ids("conv").tolist() == [0] * 16


def test_one_group_per_tensor() -> None:
    groups = Tensorwise().groups((LINEAR, CONV))
    assert groups.size.tolist() == [8, 16]
    assert not groups.shared
    assert groups.ids("fc").tolist() == [0] * 8
    assert groups.ids("conv").tolist() == [1] * 16


def test_one_group_per_output() -> None:
    groups = Row().groups((LINEAR, CONV, TRANSPOSED))
    assert groups.size.tolist() == [4, 4, 8, 8, 4, 4]
    assert groups.ids("fc").tolist() == [0] * 4 + [1] * 4
    assert groups.ids("conv").tolist() == [2] * 8 + [3] * 8
    assert groups.ids("up").tolist() == [4, 5] * 4  # outputs are its second dimension


def test_runs_of_m_inputs() -> None:
    groups = NM(n=1, m=2).groups((LINEAR, CONV, TRANSPOSED))
    assert set(groups.size.tolist()) == {2}
    assert groups.ids("fc").tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    first = groups.first["conv"]
    expected = [[[0, 1], [0, 1], [2, 3], [2, 3]], [[4, 5], [4, 5], [6, 7], [6, 7]]]
    assert (groups.ids("conv") - first).view(2, 4, 2).tolist() == expected
    first = groups.first["up"]
    assert (groups.ids("up") - first).view(4, 2).tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_the_pattern_dictates_the_density() -> None:
    assert NM().fixed_density == 0.5
    assert NM(n=1, m=4).fixed_density == 0.25
    assert Row().fixed_density is None


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (-1, 4), (1, 1)])
def test_patterns_that_are_none(n: int, m: int) -> None:
    with pytest.raises(PlanError, match="N:M keeps N non-zeros of every M inputs"):
        NM(n=n, m=m)


def test_inputs_that_do_not_divide_are_refused_by_name_with_the_way_out() -> None:
    with pytest.raises(PlanError) as error:
        NM().groups((weights("stem", (8, 3, 3, 3), "out", "in", "k", "k"),))
    text = str(error.value)
    assert "'stem' has 3 inputs, not divisible by 4" in text
    assert "non-zeros" in text
    assert "exclude=stem" in text


@pytest.mark.parametrize(("scope", "needs"), [(NM(), "inputs"), (Row(), "outputs and inputs")])
def test_rows_have_neither_rows_nor_inputs(scope: NM | Row, needs: str) -> None:
    with pytest.raises(PlanError) as error:
        scope.groups((ROWS,))
    assert needs in str(error.value)
    assert "'fc[rows]'" in str(error.value)
