"""How long a walk over blocks takes, by part, and how long it may go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...core.device import wait_for_device
from .blocks import Block

Progress = Callable[[dict[str, Any]], None]


class Clock:
    """Adds the time spent inside to one entry of a dict; what a GPU was given there counts."""

    def __init__(self, seconds: dict[str, float], part: str) -> None:
        self._seconds, self._part = seconds, part

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        wait_for_device()
        spent = time.perf_counter() - self._start
        self._seconds[self._part] = self._seconds.get(self._part, 0.0) + spent


class Timer:
    """Tells after every block how far the walk is and how long the rest may take."""

    def __init__(self, blocks: int, tell: Progress | None) -> None:
        self._blocks, self._tell, self._done, self._skipped = blocks, tell, 0, 0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._start

    def skip(self) -> None:
        """A block that took no time, since it was done already."""
        self._done += 1
        self._skipped += 1

    def __call__(self, block: Block) -> None:
        self._done += 1
        seconds = self.seconds
        left = seconds / (self._done - self._skipped) * (self._blocks - self._done)
        if self._tell is not None:
            event = {"kind": "block", "name": block.name, "done": self._done}
            self._tell({**event, "blocks": self._blocks, "seconds": seconds, "left": left})
