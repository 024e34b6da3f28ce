"""The most memory one forward pass holds at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from .forward import Call, as_call, device_of, evaluating, explained


@dataclass(frozen=True)
class Memory:
    """Bytes a forward pass needs.

    Attributes:
        weights: parameters and buffers, each memory once.
        working: the peak of what is allocated during the pass and was not there before it:
            activations, the output, and the work space of the operators.
        counted: what `working` counts, in words.
    """

    weights: int
    working: int
    counted: str

    @property
    def peak(self) -> int:
        """weights + working."""
        return self.weights + self.working


def peak_memory(model: nn.Module, example: Any) -> Memory:
    """Measure one forward pass in evaluation mode, without gradients, after one to warm up.

    On a CPU every allocation and release by torch's own allocator is recorded (torch's profiler)
    and the highest running sum taken; work space that a library such as oneDNN takes elsewhere is
    not seen. On CUDA it is torch's `max_memory_allocated` less what was allocated before; what the
    caching allocator only reserves is not counted. The example itself is not counted.

    Args:
        model: on one device; it is left as it was.
        example: a tensor, a tuple of arguments or a dict of keyword arguments.
    """
    device = device_of(model)
    call = as_call(example).map(lambda tensor: tensor.to(device))
    with evaluating(model), explained(call):
        model(*call.args, **call.kwargs)
        if device.type == "cuda":
            working, counted = _on_cuda(model, call, device), "torch's CUDA allocator, allocated"
        else:
            working, counted = _on_cpu(model, call), "torch's CPU allocator, all allocations"
    return Memory(_weights(model), working, counted)


def _on_cuda(model: nn.Module, call: Call, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    output = model(*call.args, **call.kwargs)
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    del output  # it lived until here: it belongs to the peak
    return peak - before


def _on_cpu(model: nn.Module, call: Call) -> int:
    with (
        _quiet_profiler(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded,
    ):
        model(*call.args, **call.kwargs)
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return highest(event.nbytes() for event in events)


def highest(changes: Iterable[int]) -> int:
    """The highest running sum of allocations (+) and releases (−), at least 0.

    >>> highest([10, 5, -10, 4])
    15
    """
    return max(accumulate(changes, initial=0))


def _weights(model: nn.Module) -> int:
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """The profiler announces its start and stop on stderr unless its log level is raised."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = before or "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
