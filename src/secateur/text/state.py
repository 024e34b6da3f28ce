"""What a language model says of itself, and eval mode for the time of a measurement."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from secateur.core.modes import mode

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def context_length(model: object) -> int | None:
    """The most tokens the model's configuration allows, or None where it names no limit.

    Multimodal configurations keep it in their text part.
    """
    config = getattr(model, "config", None)
    for part in (config, getattr(config, "text_config", None)):
        for name in _CONTEXT_NAMES:
            value = getattr(part, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None


def device_of(model: nn.Module) -> torch.device:
    """The device of the first parameter or buffer; CPU for a module without either."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode inside; each back in its own mode afterwards."""
    with mode(model, train=False):
        yield
