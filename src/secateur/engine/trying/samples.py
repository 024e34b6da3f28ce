"""Single samples of a run's batches, in batches anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ...core.errors import DataError
from ...core.labelled import Inputs, keywords, samples, split


class Samples:
    """The inputs of all batches, read once, to be drawn from by number.

    Args:
        batches: tensors, pairs whose first part is the input, or dicts of keywords, samples first.
        read: what is taken of a batch; `with_labels` has labels beside the inputs.
    """

    def __init__(
        self, batches: Iterable[object], read: Callable[[object], Inputs] | None = None
    ) -> None:
        self._batches = [(read or _inputs)(batch) for batch in batches]
        self._places = [
            (number, row)
            for number, batch in enumerate(self._batches)
            for row in range(samples(batch))
        ]
        if not self._places:
            raise DataError(
                "there are no batches to try candidates on: the loader is empty, or an iterator that can "
                "be read once only; pass a list of batches or a data loader"
            )
        self._most = max(samples(batch) for batch in self._batches)

    def __len__(self) -> int:
        return len(self._places)

    def batches(self, chosen: Sequence[int]) -> Iterator[Inputs]:
        """Batches of the samples with these numbers, no larger than those they came in.

        Samples of one shape are put together, in the order of their numbers.
        """
        rows: dict[int, list[int]] = {}
        for number, row in (self._places[i] for i in sorted(chosen)):
            rows.setdefault(number, []).append(row)
        waiting: list[Inputs] = []
        for number, picked in rows.items():
            part = _rows(self._batches[number], picked)
            count = sum(map(samples, waiting)) + len(picked)
            if waiting and (count > self._most or _shape(waiting[0]) != _shape(part)):
                yield _joined(waiting)
                waiting = []
            waiting.append(part)
        if waiting:
            yield _joined(waiting)


def _inputs(batch: object) -> Inputs:
    """What the network is given; labels are not looked at."""
    inner = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(inner, Mapping):
        return keywords(inner)
    if isinstance(inner, Tensor):
        return inner
    raise DataError(
        f"candidates are tried on batches of tensors, (x, y) pairs or dicts of keywords, not on a batch of "
        f"type {type(inner).__name__}"
    )


LABELS, INPUTS = "labels", ""
"""Where `with_labels` puts the labels, and inputs that have no name."""


def with_labels(batch: object) -> Inputs:
    """The inputs and the labels [samples, ...] of a batch in one mapping."""
    if not isinstance(batch, Mapping) and not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise DataError(
            f"errors are counted on batches (x, y) of inputs and labels, or dicts of tokens, not on a batch "
            f"of type {type(batch).__name__}; give data with labels"
        )
    x, y = split(batch)
    return {**(x if isinstance(x, Mapping) else {INPUTS: x}), LABELS: y}


def apart(batch: Inputs) -> tuple[Inputs, Tensor]:
    """Inputs and labels of what `with_labels` gave."""
    assert isinstance(batch, Mapping)
    return batch.get(INPUTS, keywords(batch)), batch[LABELS]


def _rows(batch: Inputs, picked: list[int]) -> Inputs:
    if isinstance(batch, Tensor):
        return batch[picked]
    return {name: value[picked] for name, value in batch.items()}


def _shape(batch: Inputs) -> object:
    """All that has to be equal for two batches to become one."""
    if isinstance(batch, Tensor):
        return batch.shape[1:]
    return {name: value.shape[1:] for name, value in batch.items()}


def _joined(parts: Sequence[Inputs]) -> Inputs:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    mappings = [part for part in parts if isinstance(part, Mapping)]
    return {name: torch.cat([part[name] for part in mappings]) for name in first}
