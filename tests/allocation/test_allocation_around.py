"""Allocators around others ask for what those need."""

from __future__ import annotations

from typing import ClassVar

import pytest

from secateur.allocation import Bounded, Owl, ToBudget, Uniform, Widths


class Needy(Uniform):
    """One that looks at a statistic."""

    needs: ClassVar[frozenset[str]] = frozenset({"input_square"})


@pytest.mark.parametrize(
    "around",
    [
        Bounded(inner=Needy(), floor=0.1),
        Widths(inner=Needy(), round_to=8),
        ToBudget(inner=Needy(), what="macs", limit=0.5),
        Widths(inner=Bounded(inner=Needy(), floor=0.1), round_to=8),
    ],
)
def test_the_statistics_of_the_inner_one_are_asked_for(around) -> None:
    assert around.required() == {"input_square"}


@pytest.mark.parametrize(
    "around", [Bounded(inner=Owl(), floor=0.1), Widths(inner=Owl(), round_to=8)]
)
def test_the_survey_of_the_inner_one_is_taken(around) -> None:
    assert Owl().surveys
    assert around.surveys
