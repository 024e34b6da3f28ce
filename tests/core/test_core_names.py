"""Selectors of names."""

from __future__ import annotations

import pytest

from secateur.core.errors import PlanError, nearest, unknown
from secateur.core.names import matches, pick

NAMES = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.weight", "fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("fc.weight", ["fc.weight"]),
        ("*.weight", NAMES[:4]),
        ("layer1.*", NAMES[1:3]),
        ("re:conv", NAMES[:2]),
        (r"re:^fc\.", NAMES[3:]),
        ("[cf]*.weight", ["conv1.weight", "fc.weight"]),
    ],
)
def test_names_globs_and_patterns(selector: str, chosen: list[str]) -> None:
    assert pick([selector], NAMES) == chosen


def test_the_order_is_that_of_the_names() -> None:
    assert pick(["fc.*", "conv1.weight"], NAMES) == ["conv1.weight", "fc.weight", "fc.bias"]


def test_a_name_with_brackets_names_itself() -> None:
    """Targets of rows are called `conv1.weight[rows]`, which as a glob would mean one letter."""
    assert matches("conv1.weight[rows]", "conv1.weight[rows]")
    assert not matches("conv1.weight[rows]", "conv2.weight[rows]")


def test_case_counts() -> None:
    assert not matches("FC.*", "fc.weight")


def test_a_selector_that_picks_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"'fc.weigth'; did you mean 'fc.weight'\?"):
        pick(["*.bias", "fc.weigth"], NAMES)


def test_a_broken_pattern_is_refused() -> None:
    with pytest.raises(PlanError, match="regular expression"):
        pick(["re:("], NAMES)


def test_long_lists_of_choices_are_cut() -> None:
    text = str(unknown("thing", "zzz", [f"name{i:03}" for i in range(100)]))
    assert "(100 in all)" in text
    assert "name099" not in text
    assert nearest("zzz", ["name"]) is None
