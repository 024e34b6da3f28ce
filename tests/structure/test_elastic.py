"""Which block stands for which, by the pairs that the official code of elastic tickets is given."""

from __future__ import annotations

import pytest

from secateur.core.errors import PlanError
from secateur.structure.elastic import Elastic, places


def stage(blocks: int, name: str = "stage") -> list[str]:
    return [
        "stem",
        *(f"{name}.{i}.{layer}.weight" for i in range(blocks) for layer in "ab"),
        "head",
    ]


def chosen(source: int, target: int, **how: object) -> list[int]:
    elastic = Elastic(stage(source), stage(target), **how)  # type: ignore[arg-type]
    return [int(elastic.counterpart(f"stage.{i}.b.weight").split(".")[1]) for i in range(target)]


@pytest.mark.parametrize(
    ("source", "target", "interpolated", "appended"),
    [  # five blocks a stage are a ResNet-32, nine a ResNet-56
        (5, 9, [0, 1, 1, 2, 2, 3, 3, 4, 4], [0, 1, 2, 3, 4, 1, 2, 3, 4]),
        (9, 5, [0, 1, 3, 5, 7], [0, 1, 2, 3, 4]),
        (3, 5, [0, 1, 1, 2, 2], [0, 1, 2, 1, 2]),
        (4, 1, [0], [0]),
        (5, 5, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    ],
)
def test_blocks_are_repeated_and_left_out(
    source: int, target: int, interpolated: list[int], appended: list[int]
) -> None:
    assert chosen(source, target) == interpolated
    assert chosen(source, target, order="appended") == appended


def test_what_has_no_number_or_the_same_numbers_keeps_its_name() -> None:
    elastic = Elastic(stage(3), stage(5))
    assert elastic.counterpart("head") == "head"
    assert elastic.counterpart("another.3.weight") == "another.3.weight"
    assert elastic.stretched == {}
    elastic.counterpart("stage.4.a.weight")
    assert elastic.stretched == {"stage": "stage"}


def test_containers_inside_blocks_go_by_the_block_they_come_from() -> None:
    source = ["s.0.f.0.w", "s.1.f.0.w", "s.1.f.1.w", "s.1.f.2.w"]
    target = ["s.0.f.0.w", "s.1.f.0.w", "s.1.f.1.w", "s.2.f.0.w", "s.2.f.1.w"]
    elastic = Elastic(source, target)
    assert [elastic.counterpart(name) for name in target[1:]] == [
        "s.1.f.0.w", "s.1.f.1.w", "s.1.f.0.w", "s.1.f.1.w",
    ]  # fmt: skip


def test_pairs_may_be_given_by_hand() -> None:
    assert chosen(3, 5, blocks={"stage": [0, 1, 2, 2, 2]}) == [0, 1, 2, 2, 2]
    assert chosen(3, 3, blocks={"stage": [0, 2, 1]}) == [0, 2, 1]
    for blocks, said in (
        ({"stag": [0]}, "did you mean 'stage'"),
        ({"stage": [0, 1]}, "name 2 of the ticket's, but the network has 5"),
        ({"stage": [0, 1, 2, 3, 0]}, r"block 3, but it has \[0, 1, 2\]"),
    ):
        with pytest.raises(PlanError, match=said):
            chosen(3, 5, blocks=blocks)


def test_a_first_block_alone_is_not_repeated_unasked() -> None:
    with pytest.raises(PlanError, match="has one block in the ticket and 3"):
        chosen(1, 3)
    assert chosen(1, 3, blocks={"stage": [0, 0, 0]}) == [0, 0, 0]


def test_numbers_are_in_the_order_of_numbers() -> None:
    assert places(["a.10.w", "a.9.w", "3.b.2.w"]) == {"a": (9, 10), "": (3,), "3.b": (2,)}
