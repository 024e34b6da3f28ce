"""Leaving no trace: parameters, buffers, flags and generators come back as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ..rewrite import evaluating


@contextmanager
def unchanged(
    model: nn.Module,
    params: Mapping[str, nn.Parameter],
    masks: Mapping[str, Tensor],
    batch_statistics: bool,
) -> Iterator[None]:
    """The state statistics are taken in; afterwards, and after an error, nothing has changed.

    Args:
        model: the network.
        params: parameters to differentiate by; frozen ones are thawed inside.
        masks: weights outside are zero inside.
        batch_statistics: normalise by the batch (as in training) or by the running statistics.
    """
    with ExitStack() as stack:
        stack.enter_context(generators_kept(next(model.parameters()).device))
        stack.enter_context(_buffers(model))
        stack.enter_context(evaluating(model, batch_statistics))
        stack.enter_context(_thawed(params))
        stack.enter_context(_masked(dict(model.named_parameters()), masks))
        yield


@contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """The global generators of torch, numpy and Python; loaders and losses may draw from them."""
    python, arrays = random.getstate(), np.random.get_state()
    index = [device.index if device.index is not None else 0] if device.type != "cpu" else []
    kind = device.type if index else "cuda"
    try:
        with torch.random.fork_rng(index, device_type=kind):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


@contextmanager
def _buffers(model: nn.Module) -> Iterator[None]:
    """Running statistics: the same tensors with the same bits, also where one was replaced."""
    kept = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, copy in kept:
                buffer.copy_(copy)
                module._buffers[name] = buffer


@contextmanager
def _thawed(params: Mapping[str, nn.Parameter]) -> Iterator[None]:
    frozen = [p for p in params.values() if not p.requires_grad]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


@contextmanager
def _masked(params: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Zero what the masks remove; weights that are zero there already are not touched."""
    kept: list[tuple[nn.Parameter, Tensor]] = []
    try:
        with torch.no_grad():
            for name, mask in masks.items():
                gone = ~mask.to(params[name].device)
                if bool(params[name][gone].any()):
                    kept.append((params[name], params[name].detach().clone()))
                    params[name].masked_fill_(gone, 0)
        yield
    finally:
        with torch.no_grad():
            for p, copy in kept:
                p.copy_(copy)
