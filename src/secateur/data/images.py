"""Labelled images in memory, as bytes, and the data sets they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import DataError
from .checks import check_images, check_labels


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images decoded once, their labels, and how to normalise them.

    Attributes:
        images: uint8 [n, c, h, w].
        labels: int64 [n], each in 0 … num_classes - 1.
        num_classes: classes of the whole data set, seen here or not.
        mean, std: of each channel on the scale 0 … 1; x = (pixel / 255 - mean) / std.
        split: `train`, `val` or `test`.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    split: str = "train"

    def __post_init__(self) -> None:
        check_images(self.images, self.labels, f"the {self.split} data")
        check_labels(self.labels, self.num_classes, f"the {self.split} data")
        check_normalisation(self.mean, self.std, self.images.shape[1])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def select(self, index: Tensor, split: str | None = None) -> ImageData:
        """The images at `index` (int64 [k]), in that order, as a split of another name if given."""
        index = index.to(self.labels.device)
        images, labels = self.images[index], self.labels[index]
        return dataclasses.replace(
            self, images=images, labels=labels, split=self.split if split is None else split
        )

    def to(self, device: str | torch.device) -> ImageData:
        """The same data on another device; nothing is copied where it is there already."""
        images, labels = self.images.to(device), self.labels.to(device)
        return dataclasses.replace(self, images=images, labels=labels)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A training and a test split that agree in image shape, classes and normalisation.

    Attributes:
        name: what it was asked for as.
        train, test: the splits; test data are for the end of a study alone.
        classes: names of the classes, empty where they have none.
        about: where the data came from and how the split was made, for reports.
    """

    name: str
    train: ImageData
    test: ImageData
    classes: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        if self.train.shape != self.test.shape:
            raise DataError(
                f"data set '{self.name}' has training images of shape {self.train.shape} and test "
                f"images of shape {self.test.shape}; pass size=… to bring all to one size"
            )

    @property
    def num_classes(self) -> int:
        """Classes to tell apart."""
        return self.train.num_classes

    @property
    def in_channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.train.shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.train.shape[1:]

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> DataSet:
        """The same images with other normalisation constants, e.g. those of trained weights."""
        m, s = tuple(map(float, mean)), tuple(map(float, std))
        train = dataclasses.replace(self.train, mean=m, std=s)
        test = dataclasses.replace(self.test, mean=m, std=s)
        return dataclasses.replace(self, train=train, test=test)


def check_normalisation(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    """Refuse constants that do not fit the channels, or would divide by zero."""
    if len(mean) != channels or len(std) != channels:
        raise DataError(
            f"normalisation has {len(mean)} means and {len(std)} deviations for images of "
            f"{channels} channels; give one of each for every channel"
        )
    if not all(s > 0 for s in std):
        raise DataError(f"normalisation std {tuple(std)} has a value that is not above 0; mend it")


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of each channel of uint8 [n, c, h, w] on the scale 0 … 1, from exact counts.

    A channel of one constant value gets the deviation 1, so that it can be normalised at all.

    >>> channel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    mean, std = [], []
    value = torch.arange(256, dtype=torch.float64)
    for channel in images.unbind(1):
        count = torch.bincount(channel.flatten(), minlength=256).cpu().double()  # [256]
        share = count / count.sum()
        m = float((share * value).sum())
        s = float((share * (value - m).square()).sum().sqrt())
        mean.append(m / 255)
        std.append(s / 255 or 1.0)
    return tuple(mean), tuple(std)
