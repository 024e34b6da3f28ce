"""Milliseconds of single operators on this machine, each measured once."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..artifact.atomic import read_bytes, write_bytes
from ..core.errors import PlanError, StorageError
from .kernel import Kernel, time_kernel
from .latency import Timer, timer_for

Stopwatch = Callable[[Kernel], float]
"""Seconds that a kernel takes."""

Rounds = npt.NDArray[np.float64]

SCHEMA = 1


class LatencyTable:
    """What every operator took that was asked for, by operator and sizes.

    Times are those of ATen operators run alone on tensors of the sizes in question, the fastest of
    some runs. A table belongs to a machine, a device, a number of threads and a torch version.

    Args:
        device: where the operators run.
        timer: seconds of one call; by default the clock, or CUDA events on a GPU.
        stopwatch: seconds of one kernel; by default it is run and timed.
        known: kernel as text -> milliseconds, measured before.

    >>> table = LatencyTable(stopwatch=lambda kernel: 1e-3 * sum(s.elements for s in kernel.specs()))
    >>> from .kernel import Spec
    >>> table.milliseconds(Kernel("aten.relu.default", (Spec((4, 5)),)))
    20.0
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        timer: Timer | None = None,
        stopwatch: Stopwatch | None = None,
        known: Mapping[str, float] | None = None,
    ) -> None:
        self.device = torch.device(device)
        timed = partial(time_kernel, device=self.device, timer=timer or timer_for(self.device))
        self.stopwatch = stopwatch or timed
        self.sample: Stopwatch = stopwatch or partial(timed, samples=1)
        self._rounds: dict[tuple[str, ...], Rounds] = {}
        self.known = dict(known or {})
        self.machine = machine(self.device)

    def milliseconds(self, kernel: Kernel) -> float:
        """What one call takes; measured when it is asked for the first time."""
        name = str(kernel)
        if name not in self.known:
            self.known[name] = 1e3 * self.stopwatch(kernel)
        return self.known[name]

    def in_turn(self, kernels: Sequence[Kernel], rounds: int) -> Rounds:
        """[rounds, kernels] milliseconds: all once, then all again, so that a mood of the machine hits all.

        Measured when these kernels are asked for the first time.
        """
        names = tuple(map(str, kernels))
        if names not in self._rounds:
            times = [[1e3 * self.sample(kernel) for kernel in kernels] for _ in range(rounds)]
            self._rounds[names] = np.array(times)
        return self._rounds[names]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, to be read where the same machine runs the same torch."""
        content = {"schema": SCHEMA, "machine": self.machine, "milliseconds": self.known}
        write_bytes(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        device: torch.device | str = "cpu",
        *,
        timer: Timer | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> LatencyTable:
        """The table of a file, if it was measured here; an error says what differs."""
        content = _read(Path(path))
        table = cls(device, timer=timer, stopwatch=stopwatch, known=content["milliseconds"])
        for what, here in table.machine.items():
            if (there := content["machine"].get(what)) != here:
                raise PlanError(
                    f"the latency table {path} was measured with {what} {there}, here it is {here}; "
                    "measure another"
                )
        return table


def machine(device: torch.device) -> dict[str, Any]:
    """What times depend on."""
    on_gpu = device.type == "cuda"
    return {
        "processor": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability} {os.cpu_count()} cores {_model()}".strip()


def _model() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # another system than Linux: its own word for it
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _read(path: Path) -> dict[str, Any]:
    """The content of a file, checked."""
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise StorageError(f"{path} is no latency table: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise StorageError(f"{path} is no latency table of schema {SCHEMA}")
    times, where = content.get("milliseconds"), content.get("machine")
    if not isinstance(times, dict) or not isinstance(where, dict):
        raise StorageError(f"{path} is no latency table: it names no times or no machine")
    if not all(isinstance(ms, int | float) and 0 < ms < float("inf") for ms in times.values()):
        raise StorageError(f"{path} holds a time that is not a positive number")
    return content
