"""The embedded digits: sizes, scale, a fixed split."""

from __future__ import annotations

import hashlib

import torch
from sklearn.datasets import load_digits

from secateur.data import channel_statistics, load


def test_digits_have_the_known_counts_and_the_full_range():
    data = load("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 1, (8, 8))
    assert set(data.train.images.unique().tolist()) == {round(v * 255 / 16) for v in range(17)}
    assert torch.bincount(data.test.labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    assert (data.train.mean, data.train.std) == channel_statistics(data.train.images)
    assert (data.test.mean, data.test.std) == (data.train.mean, data.train.std)


def test_no_digit_is_lost_between_the_splits():
    data = load("digits")
    got = torch.cat([data.train.images, data.test.images]).flatten(1).long()
    want = (torch.from_numpy(load_digits().data) * 255 / 16).round().long()
    assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, want.tolist()))


def test_the_split_never_changes():
    labels = load("digits").test.labels.to(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(labels).hexdigest()[:16] == "c48b86bc16359a7b"
