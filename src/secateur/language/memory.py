"""What a method takes in memory, against what there is."""

from __future__ import annotations

from pathlib import Path

import torch

from ..core.axes import Chooser
from ..core.device import HOST
from ..core.errors import StorageError
from ..core.recipe import Recipe
from ..engine.blockwise.preview import size
from ..engine.blockwise.shards import Shards

COPIES = 5
"""The most copies of the weights that pruning makes: gradients and their means, or masked and smaller."""
BASIS = 2
"""More of them where the network is rewritten in another basis first, which makes it larger."""
LEVELS = 12
"""More of them where candidates are tried with the weights that a solver leaves at each level."""
PROOF = 16
"""Bytes a weight that proving a removal takes: masked and smaller network on random float64 weights."""
MEMINFO, GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def expected_peak(shards: Shards, recipe: Recipe) -> int:
    """Bytes beside the program, about, when the model of a folder is pruned as a whole."""
    proof = PROOF if recipe.structure.traces else 0
    copies = COPIES + (BASIS if recipe.basis is not None else 0)
    if recipe.allocator.tries and isinstance(recipe.solver, Chooser):
        copies += LEVELS
    return sum(
        (entry.stop - entry.start) * copies
        + (entry.stop - entry.start) // entry.dtype.itemsize * proof
        for entry in shards.entries.values()
    )


def available(device: torch.device = HOST) -> int | None:
    """Bytes to be had without swapping, by the machine and by the process's group; None: not said.

    Of a GPU what its driver and torch's own allocator have left.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    found = [n for n in (_of_machine(), _of_group()) if n is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    if not MEMINFO.exists():
        return None
    rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024


def _of_group() -> int | None:
    most, now = GROUP / "memory.max", GROUP / "memory.current"
    if not most.exists() or not now.exists() or most.read_text().strip() == "max":
        return None
    return int(most.read_text()) - int(now.read_text())


def check_memory(peak: int, source: Path, why: str, device: torch.device = HOST) -> None:
    """Refuse what would not fit; `why` it has to be in memory."""
    free = available(device)
    where, way_out = ("", "") if device.type == "cpu" else (f" on {device}", ", or device cpu")
    if free is not None and peak > free:
        raise StorageError(
            f"'{source}' pruned in memory takes about {size(peak)}, {size(free)} are available{where}: "
            f"{why}; use a method that goes block by block (wanda, sparsegpt, flap, smart-farm, shortgpt, "
            f"…), or a larger machine{way_out}"
        )
