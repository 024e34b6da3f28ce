"""Batches with labels: (x, y) pairs, or dicts of keywords as language models take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .errors import DataError

IGNORED = -100
"""The label of a token that is not predicted: padding, prompts."""

Inputs = Tensor | Mapping[str, Tensor]
"""What a network is given: a tensor, or tensors by keyword, each with the samples first."""


def keywords(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a dict that the network is given: all but `labels`."""
    return {k: v for k, v in batch.items() if k != "labels" and isinstance(v, Tensor)}


def split(batch: Any) -> tuple[Inputs, Tensor]:
    """(x, y) of a batch.

    A dict gives its tensors but `labels` as keywords, and `labels` [n, length] as y; without them the
    tokens of `input_ids` themselves are predicted, but for those the attention mask calls padding.

    >>> x, y = split({"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.tensor([[1, 1, 0]])})
    >>> sorted(x), y.tolist()
    (['attention_mask', 'input_ids'], [[5, 6, -100]])
    """
    if isinstance(batch, Mapping) and isinstance(batch.get("input_ids"), Tensor):
        x = keywords(batch)
        labels = batch.get("labels")
        if isinstance(labels, Tensor):
            return x, labels
        mask = x.get("attention_mask", torch.ones_like(x["input_ids"]))
        return x, x["input_ids"].masked_fill(mask == 0, IGNORED)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        x, y = batch
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            return x, y
    raise DataError(
        f"training needs batches (x, y) of two tensors or dicts with input_ids, got a "
        f"{type(batch).__name__}; let the data give pairs of inputs and labels, or tokens"
    )


def call(model: nn.Module, x: Inputs) -> Any:
    """The network's output: keywords are passed as such."""
    return model(**x) if isinstance(x, Mapping) else model(x)


def predictions(output: Any, y: Tensor) -> tuple[Any, Tensor]:
    """Logits and labels, one row per prediction.

    Of a language model (`logits` [n, length, vocabulary] beside labels [n, length]) each token
    predicts the next one, and those whose label is -100 are left out: [tokens, vocabulary], [tokens].
    Any other output is given back as it is.
    """
    logits = getattr(output, "logits", output)
    if not (isinstance(logits, Tensor) and logits.dim() == 3 and y.shape == logits.shape[:2]):
        return logits, y
    y = y.to(logits.device)
    there = y[:, 1:] != IGNORED
    return logits[:, :-1][there], y[:, 1:][there]


def weight(x: Inputs, y: Tensor) -> int:
    """How many predictions a batch is: its samples, or the tokens whose label is predicted."""
    if isinstance(x, Mapping) and y.dim() == 2:
        return int((y[:, 1:] != IGNORED).sum())
    return samples(x)


def samples(x: Inputs) -> int:
    """How many samples a batch holds."""
    return len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)


def chunks(x: Inputs, parts: int) -> list[Inputs]:
    """A batch in at most `parts` parts of neighbouring samples."""
    if isinstance(x, Tensor):
        return list(x.chunk(parts))
    pieces = {name: value.chunk(parts) for name, value in x.items()}
    return [{n: p[i] for n, p in pieces.items()} for i in range(len(next(iter(pieces.values()))))]


def share(x: Inputs, world: int, rank: int) -> Inputs:
    """One process's samples of a batch."""
    if isinstance(x, Tensor):
        return x.tensor_split(world)[rank]
    return {name: value.tensor_split(world)[rank] for name, value in x.items()}


def to(x: Inputs, device: torch.device) -> Inputs:
    """A batch on another device."""
    if isinstance(x, Tensor):
        return x.to(device, non_blocking=True)
    return {name: value.to(device, non_blocking=True) for name, value in x.items()}
