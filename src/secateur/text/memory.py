"""Memory of a model: the bytes of its weights, and the peak while something runs."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from secateur.text.state import device_of

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Bytes: weights; the highest point of the process (CPU) or device (CUDA); what that rose by.

    `how` names the source: `cuda allocator`, `resident set` (Linux, peak reset before the run) or
    `process peak` (elsewhere: the peak since the process began, so only its rise above earlier
    peaks is seen).
    """

    weights: int
    peak: int
    rise: int
    how: str


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers; a storage shared by several (tied weights) counts once.

    >>> weight_bytes(nn.Linear(4, 3))
    60
    """
    tensors = [*model.parameters(), *model.buffers()]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def memory(model: nn.Module, run: Callable[[], object]) -> Memory:
    """Weights of `model`, and the peak of memory while `run()` is carried out.

    >>> layer = nn.Linear(8, 8)
    >>> memory(layer, lambda: layer(torch.ones(1, 8))).weights
    288
    """
    device = device_of(model)
    if device.type == "cuda":
        return _cuda(model, run, device)
    _give_back_freed()
    reset = _reset_peak()
    before = _resident() if reset else _process_peak()
    run()
    peak = _linux("VmHWM") if reset else _process_peak()
    how = "resident set" if reset else "process peak"
    return Memory(weight_bytes(model), peak, max(0, peak - before), how)


def _cuda(model: nn.Module, run: Callable[[], object], device: torch.device) -> Memory:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    return Memory(weight_bytes(model), peak, peak - before, "cuda allocator")


def _reset_peak() -> bool:
    """Whether the kernel began the peak anew, as writing 5 to clear_refs asks."""
    try:
        _CLEAR.write_text("5")
    except OSError:  # not Linux, or not permitted: `how` then says so
        return False
    return True


def _give_back_freed() -> None:
    """Hand freed pages of the heap to the system: reused, they would hide what `run` takes."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _resident() -> int:
    return _linux("VmRSS")


def _linux(name: str) -> int:
    """A kB field of /proc/self/status in bytes."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _process_peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
