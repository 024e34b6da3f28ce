"""Batches from what users have: a pair of tensors, a list of batches, a data loader."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .core.device import placed
from .core.errors import DataError, PlanError
from .core.labelled import Inputs, call, predictions, samples, split
from .core.random import generator


class TensorBatches:
    """Shuffled batches of tensors in memory; the order is a function of seed, stage and epoch.

    Args:
        x: [n, ...] inputs, or several by keyword: batches are then dicts with `labels`.
        y: [n, ...] targets.
        batch_size: the last, smaller batch of an epoch is kept.
        seed, words: what the order is derived from.
        shuffle: False keeps the order, for evaluation.
    """

    def __init__(
        self, x: Inputs, y: Tensor, batch_size: int, seed: int, *words: object, shuffle: bool = True
    ) -> None:
        self._n = samples(x)
        if self._n != len(y) or not self._n:
            raise DataError(
                f"{self._n} inputs and {len(y)} targets are no data set; give n of each"
            )
        self.x, self.y, self.batch_size = x, y, batch_size
        self._seed, self._words, self._shuffle = seed, words, shuffle

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return -(-self._n // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches of an epoch from batch `start` on."""
        rng = generator(self._seed, *self._words, "order", number)
        order = torch.randperm(self._n, generator=rng) if self._shuffle else None
        for at in range(start * self.batch_size, self._n, self.batch_size):
            stop = at + self.batch_size
            yield self._at(slice(at, stop) if order is None else order[at:stop].to(self.y.device))

    def _at(self, pick: Any) -> Any:
        if isinstance(self.x, Mapping):
            return {**{name: x[pick] for name, x in self.x.items()}, "labels": self.y[pick]}
        return self.x[pick], self.y[pick]

    def __iter__(self) -> Iterator[Any]:
        return self.epoch(0)


class Moved:
    """The batches of another, on a device.

    Args:
        batches: those that are moved as they come.
        device: where to.
    """

    def __init__(self, batches: Any, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self.steps_per_epoch: int = batches.steps_per_epoch

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches of an epoch from batch `start` on."""
        return (placed(batch, self._device) for batch in self._batches.epoch(number, start))

    def __iter__(self) -> Iterator[Any]:
        return self.epoch(0)


class LoaderBatches:
    """Batches of any re-iterable, such as a data loader, in the order it gives them.

    A loader that shuffles by itself makes a run that cannot be repeated bit for bit; pass tensors
    or a list for that.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        try:
            self.steps_per_epoch = len(loader)  # type: ignore[arg-type]
        except TypeError as error:
            raise DataError(
                f"data of type {type(loader).__name__} has no length and cannot be read twice; "
                "pass a list of batches, a data loader, or a pair of tensors (x, y)"
            ) from error
        if not self.steps_per_epoch:
            raise DataError("the data loader is empty; it must give at least one batch")

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Batches of an epoch from batch `start` on."""
        return itertools.islice(iter(self._loader), start, None)

    def __iter__(self) -> Iterator[Any]:
        return self.epoch(0)


def as_batches(
    data: Any,
    batch_size: int,
    seed: int,
    *words: object,
    shuffle: bool,
    device: torch.device | None = None,
) -> Any:
    """Batches of `data`, or `data` itself where it is made of batches already; None stays None.

    Where `device` is an accelerator, they come there; the data stay where they are.
    """
    if data is None or (hasattr(data, "epoch") and hasattr(data, "steps_per_epoch")):
        return data
    made = _made(data, batch_size, seed, *words, shuffle=shuffle)
    return made if device is None or device.type == "cpu" else Moved(made, device)


def _made(data: Any, batch_size: int, seed: int, *words: object, shuffle: bool) -> Any:
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        return TensorBatches(*data, batch_size, seed, *words, shuffle=shuffle)
    if isinstance(data, Mapping):
        return TensorBatches(*split(data), batch_size, seed, *words, shuffle=shuffle)
    return LoaderBatches(data)


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """The loss used where none is given: cross-entropy of class labels, or of the next token."""
    try:
        x, y = split(batch)
    except DataError:
        raise PlanError(
            f"a batch of type {type(batch).__name__} is no (x, y) pair and no dict of tokens; pass "
            "loss=function(model, batch)"
        ) from None
    output, y = predictions(call(model, x), y)
    if not isinstance(output, Tensor) or y.is_floating_point():
        raise PlanError(
            f"the default loss needs class scores and integer labels, not {type(output).__name__} "
            "and real targets; pass loss=function(model, batch)"
        )
    if int(y.min()) < 0 or int(y.max()) >= output.shape[1]:
        raise DataError(
            f"labels run from {int(y.min())} to {int(y.max())}, but the model has "
            f"{output.shape[1]} outputs; labels must be 0 to {output.shape[1] - 1}"
        )
    return nn.functional.cross_entropy(output, y)
