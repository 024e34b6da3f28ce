"""Stratified parts of a data set, drawn by seed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.density import keep_count, share
from ..core.errors import DataError
from ..core.random import generator
from .images import ImageData


def split(data: ImageData, val: int | float, seed: int) -> tuple[ImageData, ImageData]:
    """Cut (train, val) from `data`, each class in the same proportion, each image in one of them.

    Args:
        data: the training data.
        val: images to hold out: a whole number, or a fraction below 1.
        seed: equal seeds give equal splits.
    """
    count = how_many(val, len(data))
    if count == len(data):
        raise DataError(f"val={val} would hold out all {len(data)} images; leave some to train on")
    held = stratified(data.labels, count, seed, "val")  # bool [n]
    return data.select((~held).nonzero()[:, 0]), data.select(held.nonzero()[:, 0], "val")


def subset(data: ImageData, size: int | float, seed: int) -> ImageData:
    """A smaller data set of the same classes in the same proportion, in the order it had.

    Args:
        data: any split.
        size: images to keep: a whole number, or a fraction up to 1.0.
        seed: equal seeds give equal subsets.
    """
    count = how_many(size, len(data))
    if count == len(data):
        return data
    return data.select(stratified(data.labels, count, seed, "subset").nonzero()[:, 0])


def how_many(size: int | float, n: int) -> int:
    """Images that `size` stands for: an int counts them, a float is a fraction of `n`.

    >>> how_many(10, 50), how_many(0.1, 50)
    (10, 5)
    """
    whole = isinstance(size, int) and not isinstance(size, bool)
    count = size if whole else keep_count(float(size), n) if 0 < size <= 1 else 0
    if not 1 <= count <= n or isinstance(size, bool):
        raise DataError(
            f"{size!r} of {n} images is no part; give a whole number from 1 to {n}, or a fraction "
            f"above 0 and up to 1.0 that comes to at least one image"
        )
    return int(count)


def stratified(labels: Tensor, count: int, seed: int, *words: object) -> Tensor:
    """bool [n] with `count` True, shared among the classes by largest remainder.

    Args:
        labels: int64 [n].
        count: how many to choose.
        seed, words: what the draw depends on.
    """
    labels = labels.cpu()
    sizes = torch.bincount(labels)  # [classes]
    wanted = share(sizes.double() * count / len(labels), count, sizes)  # [classes]
    order = torch.randperm(len(labels), generator=generator(seed, "stratified", *words))  # [n]
    by_class = order[torch.sort(labels[order], stable=True).indices]  # [n], class after class
    first = sizes.cumsum(0) - sizes  # [classes]
    rank = torch.arange(len(labels)) - first[labels[by_class]]  # [n], place within its class
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[by_class] = rank < wanted[labels[by_class]]
    return chosen
