"""Batches made on the device from bytes; their randomness is a function of seed, epoch and step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import DataError
from ..core.random import generator
from .images import ImageData


@dataclass(frozen=True)
class Augment:
    """Random crop of the image with a black border, and random left-right flip.

    Attributes:
        crop_padding: width of the border; 0 = no crop. Offsets are uniform in 0 … 2 crop_padding.
        flip: mirror every other image, at random.
    """

    crop_padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise DataError(f"crop_padding={self.crop_padding} is below 0; give 0 for no crop")


@dataclass(frozen=True)
class _Draw:
    """The random choices of one epoch, by place in its order; None where there is no choice."""

    order: Tensor | None  # int64 [n]
    views: Tensor | None  # int64 [n, 3]: rows down, columns right, mirrored or not


class Batches:
    """Normalised, optionally augmented batches of an `ImageData` that stays as bytes.

        x = (mirror(crop(pixel)) / 255 - mean) / std

    All choices of an epoch come from generators of (seed, epoch) and are looked up by step, so an
    epoch can begin at any step and continues bit for bit as the whole one would; choices are drawn
    on the CPU, so that every device sees the same ones. The global generator is never used.

    Args:
        data: the images; moved to `device` once (move them yourself to share them).
        batch_size: images in a batch; the last one of an epoch may be smaller.
        seed: of order and augmentation.
        augment: None = the images as they are.
        device: where batches are made.
        drop_last: leave out a smaller last batch.
        shuffle: False keeps the order of the data, for evaluation.

    Shapes: epoch(e) yields x float32 [b, c, h, w] and y int64 [b].

    >>> data = ImageData(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.arange(5), 5, (0.,), (1.,))
    >>> [len(y) for x, y in Batches(data, batch_size=2, seed=0).epoch(0)]
    [2, 2, 1]
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        device: str | torch.device = "cpu",
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        if batch_size < 1 or (drop_last and batch_size > len(data)):
            raise DataError(
                f"batch_size={batch_size} makes no batch of {len(data)} images; "
                f"choose 1 to {len(data)}"
            )
        self.data, self.batch_size, self.seed = data.to(device), batch_size, seed
        self.augment, self.shuffle = augment, shuffle
        self.steps_per_epoch = len(data) // batch_size if drop_last else -(-len(data) // batch_size)
        mean = torch.tensor(data.mean, device=device).view(-1, 1, 1)  # [c, 1, 1]
        std = torch.tensor(data.std, device=device).view(-1, 1, 1)
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch(0)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start`, `start` + 1, … of epoch `number`."""
        if number < 0 or not 0 <= start <= self.steps_per_epoch:
            raise DataError(
                f"epoch {number} has no batch {start}; epochs count from 0 and batches "
                f"from 0 to {self.steps_per_epoch - 1}"
            )
        return self._batches(number, start)

    def _batches(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        draw = self._draw(number)
        for step in range(start, self.steps_per_epoch):
            part = slice(step * self.batch_size, (step + 1) * self.batch_size)
            pick = part if draw.order is None else draw.order[part]
            images = self._augmented(self.data.images[pick], draw, part)  # uint8 [b, c, h, w]
            yield images.float().mul_(self._scale).add_(self._shift), self.data.labels[pick]

    def _draw(self, epoch: int) -> _Draw:
        """Every choice of an epoch; each kind from a generator of its own."""
        n, device = len(self.data), self.data.images.device
        order = torch.randperm(n, generator=generator(self.seed, "order", epoch))
        views = _views(self.augment, n, self.seed, epoch)
        return _Draw(
            order=order.to(device) if self.shuffle else None,
            views=views.to(device) if views is not None else None,
        )

    def _augmented(self, images: Tensor, draw: _Draw, part: slice) -> Tensor:
        """[b, c, h, w] cropped and mirrored as the epoch's choices at `part` say."""
        if draw.views is None or self.augment is None:
            return images
        return cut(images, self.augment.crop_padding, *draw.views[part].unbind(1))


def _views(augment: Augment | None, n: int, seed: int, epoch: int) -> Tensor | None:
    """[n, 3] offsets down and right, and whether to mirror; None without augmentation."""
    if augment is None:
        return None
    offsets, sides = 2 * augment.crop_padding + 1, 1 + augment.flip
    choices = {"down": offsets, "right": offsets, "mirror": sides}
    drawn = [torch.randint(high, (n,), generator=generator(seed, word, epoch))
             for word, high in choices.items()]  # fmt: skip
    return torch.stack(drawn, 1)


def cut(images: Tensor, padding: int, down: Tensor, right: Tensor, mirror: Tensor) -> Tensor:
    """Cut every image at its own offset from its own copy with a black border, and mirror it.

    Args:
        images: uint8 [b, c, h, w].
        padding: width of the border on all four sides.
        down, right: int64 [b] offsets in 0 … 2 padding; `padding` leaves the image in place.
        mirror: int64 [b], 1 = left and right change places.
    """
    channels, height, width = images.shape[1:]
    bordered = F.pad(images, (padding,) * 4)  # [b, c, h + 2p, w + 2p]
    rows = down[:, None] + torch.arange(height, device=images.device)  # [b, h]
    columns = torch.arange(width, device=images.device).expand(len(images), -1)  # [b, w]
    columns = torch.where(mirror[:, None] == 1, columns.flip(1), columns) + right[:, None]
    place = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]  # [b, h, w]
    place = place.flatten(1)[:, None].expand(-1, channels, -1)  # [b, c, h * w]
    return bordered.flatten(2).gather(2, place).view_as(images)
