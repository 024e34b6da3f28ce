"""A time limit for running a model in Python: checked at every tensor operation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from secateur.structure.graph.errors import OutOfTime


class Deadline(TorchFunctionMode):
    """Within it, the first tensor operation after `seconds` raises `OutOfTime`.

    >>> import torch
    >>> with Deadline(60.0) as clock:
    ...     torch.ones(2).sum().item()
    2.0
    >>> clock.left() > 0
    True
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, at least 0."""
        return max(self._until - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raise when the time is up."""
        if not self.left():
            raise OutOfTime(
                f"tracing took longer than {self.seconds:g} seconds. Remedy: give it more "
                "(seconds=...), a smaller example, or the submodule to be pruned alone"
            )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation if there is time; what has no tensor may be a mode that is being left."""
        if any(isinstance(value, Tensor) for value in args):
            self.check()
        return func(*args, **(kwargs or {}))
