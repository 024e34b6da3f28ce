"""Edits are plain data: written, read back the same, and refused where they make no sense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secateur.core.edits import Change, Edits, Kept, Retrace
from secateur.core.errors import PlanError


@pytest.mark.parametrize(
    ("numbers", "ranges"),
    [
        ([], ()),
        ([0], ((0, 1),)),
        ([5, 1, 2, 1], ((1, 3), (5, 6))),
        (range(8), ((0, 8),)),
        ([0, 2, 4, 7], ((0, 1), (2, 3), (4, 5), (7, 8))),
    ],
)
def test_numbers_become_ranges_and_come_back(numbers: Any, ranges: Any) -> None:
    kept = Kept.of(numbers, 8)
    assert kept.ranges == ranges
    assert kept.numbers() == sorted(set(numbers))
    assert kept.count == len(set(numbers))


@pytest.mark.parametrize(
    "row",
    [
        {"size": 3, "ranges": [[2, 1]]},
        {"size": 3, "ranges": [[1, 1]]},
        {"size": 3, "ranges": [[0, 4]]},
        {"size": 3, "ranges": [[-1, 2]]},
        {"size": 9, "ranges": [[0, 1], [1, 2]]},
        {"size": 9, "ranges": [[4, 5], [0, 1]]},
        {"size": -1, "ranges": []},
        {"size": 1 << 60, "ranges": []},
        {"size": 3, "ranges": [[0, 1, 2]]},
        {"size": 3, "ranges": "all"},
        {"size": 3, "ranges": [], "more": 1},
        {"ranges": []},
    ],
)
def test_ranges_that_are_none_are_refused(row: Any) -> None:
    with pytest.raises(PlanError):
        Kept(**row)


def test_edits_round_trip_through_json() -> None:
    edits = Edits(
        tensors={"a.weight": {0: Kept.of([1, 2], 4), 1: Kept.of([0], 3)}},
        attributes=(Change(module="a", attribute="heads", old=[4, 4], new=[2, 2]),),
        layers=("layers.3",),
        retrace=Retrace(level="D", units={"a": Kept.of([1], 2)}, example={"value": 1}),
    )
    assert Edits(**json.loads(edits.model_dump_json())) == edits
