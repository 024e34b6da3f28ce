"""Data, labels and batches that cannot be used are refused in one line."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import DataError
from secateur.data import DataSet, ImageData, channel_statistics, check_batch

BYTES = torch.zeros(4, 3, 5, 6, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 1])
NORM = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def image_data(images=BYTES, labels=LABELS, num_classes=3, split="train", **norm) -> ImageData:
    return ImageData(images, labels, num_classes, split=split, **(NORM | norm))


def test_good_data_tell_their_shape():
    data = image_data()
    assert (len(data), data.shape) == (4, (3, 5, 6))
    both = DataSet("x", data, image_data(split="test"))
    assert (both.num_classes, both.in_channels, both.image_size) == (3, 3, (5, 6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": BYTES.float()}, "torch.float32 .* must be uint8"),
        ({"images": BYTES[0]}, "must be uint8 of shape"),
        ({"images": BYTES[:3]}, "3 images but 4 labels"),
        ({"images": BYTES[:0], "labels": LABELS[:0]}, "empty"),
        ({"labels": LABELS.int()}, "torch.int32 .* one int64 number per image"),
        ({"labels": LABELS - 1}, "from -1 to 1 .*kept secret.* 0 to 2"),
        ({"num_classes": 2}, "from 0 to 2, but with 2 classes .* 0 to 1"),
        ({"mean": (0.0,)}, "1 means and 3 deviations"),
        ({"std": (1.0, 0.0, 1.0)}, "not above 0"),
    ],
)
def test_bad_data_are_refused(change, words):
    with pytest.raises(DataError, match=words) as caught:
        image_data(**change)
    assert "\n" not in str(caught.value)


def test_splits_of_different_shape_are_refused():
    with pytest.raises(DataError, match=r"\(3, 5, 6\).*\(3, 5, 5\).*size="):
        DataSet("x", image_data(), image_data(images=BYTES[:, :, :, 1:], split="test"))


X, Y = torch.zeros(4, 3, 5, 6), LABELS


def test_a_good_batch_passes():
    check_batch((X, Y), 3, (3, 5, 6))
    check_batch([X, Y], 3)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (X, "a batch is a Tensor"),
        ((X, Y, Y), "must be a pair"),
        ((X, [0, 1]), "Tensor and list"),
        ((X.long(), Y), "torch.int64 inputs"),
        ((X[:3], Y), r"\(3, 3, 5, 6\) and labels \(4,\)"),
        ((X[:0], Y[:0]), "empty"),
        ((X[:, :1], Y), r"\(1, 5, 6\), but the network takes \(3, 5, 6\)"),
        ((X, Y + 1), "from 1 to 3"),
        ((X, Y.float()), "torch.float32"),
    ],
)
def test_bad_batches_are_refused(batch, words):
    with pytest.raises(DataError, match=words):
        check_batch(batch, 3, (3, 5, 6))


def test_channel_statistics_are_those_of_floats():
    images = torch.randint(256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(1))
    mean, std = channel_statistics(images.to(torch.uint8))
    floats = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), floats.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(std).double(), floats.std((0, 2, 3), unbiased=False))
    assert channel_statistics(BYTES)[1] == (1.0, 1.0, 1.0)


def test_renormalising_leaves_the_images():
    data = DataSet("x", image_data(), image_data(split="test"))
    other = data.normalised((0.5,) * 3, [0.25] * 3)
    assert (other.test.mean, other.train.std) == ((0.5,) * 3, (0.25,) * 3)
    assert other.train.images is data.train.images
