"""Splits and subsets: exact counts, classes in proportion, every image in one part."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.data import ImageData, split, subset
from secateur.data.split import how_many, stratified


def labelled(labels: list[int]) -> ImageData:
    """Images numbered by their pixels."""
    n = len(labels)
    images = torch.arange(n).to(torch.uint8).view(n, 1, 1, 1)
    return ImageData(images, torch.tensor(labels), 5, (0.0,), (1.0,))


def numbers(data: ImageData) -> list[int]:
    return data.images.flatten().tolist()


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_every_class_gives_its_share_to_within_one(labels, fraction, seed):
    count = max(1, round(fraction * len(labels)))
    chosen = stratified(torch.tensor(labels), count, seed)
    assert int(chosen.sum()) == count
    for label in set(labels):
        mine = torch.tensor(labels) == label
        ideal = int(mine.sum()) * count / len(labels)
        assert abs(int((chosen & mine).sum()) - ideal) < 1


def test_a_split_parts_the_images_and_names_the_parts():
    data = labelled([0, 1, 2, 3, 4] * 8)
    train, val = split(data, 0.25, seed=3)
    assert (len(train), len(val), train.split, val.split) == (30, 10, "train", "val")
    assert torch.bincount(val.labels).tolist() == [2] * 5
    assert sorted(numbers(train) + numbers(val)) == list(range(40))
    assert all(labels == n % 5 for n, labels in zip(numbers(val), val.labels, strict=True))


def test_splits_depend_on_the_seed_alone():
    data = labelled([0, 1, 2, 3, 4] * 8)
    before = torch.get_rng_state()
    one, two, other = (numbers(split(data, 10, seed)[1]) for seed in (3, 3, 4))
    assert one == two != other
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subset_keeps_order_split_and_classes():
    part = subset(labelled([0, 1, 2, 3, 4] * 8), 0.5, seed=1)
    assert (len(part), part.split, part.num_classes) == (20, "train", 5)
    assert numbers(part) == sorted(numbers(part))
    assert torch.bincount(part.labels).tolist() == [4] * 5


def test_the_whole_is_the_same_object():
    data = labelled([0, 1, 2])
    assert subset(data, 1.0, 0) is data
    assert subset(data, 3, 0) is data


@pytest.mark.parametrize("size", [0, -1, 4, 0.0, 1.5, 0.01, True, float("nan")])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(DataError, match="of 3 images is no part"):
        how_many(size, 3)


def test_holding_out_everything_is_refused():
    with pytest.raises(DataError, match="all 3 images"):
        split(labelled([0, 1, 2]), 3, 0)
