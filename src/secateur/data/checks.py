"""What labels, images and batches must be, said in one line when they are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.errors import DataError


def check_labels(labels: Tensor, num_classes: int, what: str = "the data") -> None:
    """Refuse labels that are no int64 vector within 0 … num_classes - 1."""
    if labels.dtype != torch.int64 or labels.dim() != 1:
        raise DataError(
            f"labels of {what} are {labels.dtype} of shape {tuple(labels.shape)}; "
            "they must be one int64 number per image"
        )
    if not len(labels):
        raise DataError(f"{what} is empty; give at least one labelled image")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= num_classes:
        hint = " (-1 often marks labels that were kept secret)" if least < 0 else ""
        raise DataError(
            f"labels of {what} run from {least} to {most}{hint}, but with {num_classes} classes "
            f"they must lie in 0 to {num_classes - 1}; mend the labels or num_classes"
        )


def check_images(images: Tensor, labels: Tensor, what: str = "the data") -> None:
    """Refuse images that are not uint8 [n, c, h, w] with one label each."""
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise DataError(
            f"images of {what} are {images.dtype} of shape {tuple(images.shape)}; "
            "they must be uint8 of shape [n, channels, height, width]"
        )
    if len(images) != len(labels):
        raise DataError(f"{what} has {len(images)} images but {len(labels)} labels; give as many")
    if not images.numel():
        raise DataError(f"{what} is empty (images of shape {tuple(images.shape)}); give images")


def check_batch(batch: Any, num_classes: int, shape: tuple[int, ...] | None = None) -> None:
    """Refuse a batch that is not (x [n, …] float, y [n] int64) with labels in range.

    Args:
        batch: what a loader gave.
        num_classes: outputs of the network.
        shape: of one input where it is known, e.g. (3, 32, 32).
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise DataError(f"a batch is a {type(batch).__name__}; it must be a pair (inputs, labels)")
    x, y = batch
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise DataError(
            f"a batch holds {type(x).__name__} and {type(y).__name__}; both must be tensors"
        )
    if not x.is_floating_point() or len(x) != len(y):
        raise DataError(
            f"a batch has {x.dtype} inputs {tuple(x.shape)} and labels {tuple(y.shape)}; "
            "inputs must be floats and as many as labels"
        )
    if shape is not None and tuple(x.shape[1:]) != tuple(shape):
        raise DataError(
            f"a batch has inputs of shape {tuple(x.shape[1:])}, but the network takes "
            f"{tuple(shape)}; change the data or build the network for them"
        )
    check_labels(y, num_classes, "a batch")
