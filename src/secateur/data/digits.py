"""Handwritten digits that ship inside scikit-learn: a data set for machines without any."""

from __future__ import annotations

import torch

from ..core.extras import need
from .images import DataSet, ImageData, channel_statistics
from .split import stratified

_TEST = 360
"""Images in the test split: a fifth of the 1,797."""


def digits() -> DataSet:
    """1,797 grey images of 8x8 pixels in 10 classes: 1,437 to train on, 360 to test.

    The source counts 0 … 16 in each pixel; pixel = round(count * 255 / 16). It has no split of its
    own, so one is drawn here once and for all, with the classes in proportion.

    Source: Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", UCI.
    """
    raw = need("sklearn.datasets").load_digits()
    counts = torch.from_numpy(raw.images).float()  # [1797, 8, 8] in 0 … 16
    images = (counts * (255 / 16)).round().to(torch.uint8).unsqueeze(1)  # [1797, 1, 8, 8]
    labels = torch.from_numpy(raw.target).long()  # [1797]
    test = stratified(labels, _TEST, 0, "digits")  # [1797]
    mean, std = channel_statistics(images[~test])
    parts = {
        name: ImageData(images[where], labels[where], 10, mean, std, name)
        for name, where in (("train", ~test), ("test", test))
    }
    return DataSet(
        name="digits",
        train=parts["train"],
        test=parts["test"],
        classes=tuple(map(str, range(10))),
        about="scikit-learn's 8x8 digits, a fifth of each class held out as test data",
    )
