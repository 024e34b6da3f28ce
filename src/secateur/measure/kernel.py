"""One operator call as plain data: sizes instead of tensors, so that it can be named, made and timed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.errors import PlanError
from .latency import Timer
from .runtimes import Runner

SAMPLES = 5
"""Timed samples of a kernel; the fastest counts."""


@dataclass(frozen=True)
class Spec:
    """A tensor without its values.

    Attributes:
        shape: its sizes.
        dtype: e.g. `float32`.
        order: its dimensions from the largest stride to the smallest; channels last is (0, 2, 3, 1).
        repeated: dimensions of stride 0, as `expand` makes them.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    order: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()

    def __str__(self) -> str:
        order = "" if self.order in ((), tuple(range(len(self.shape)))) else f" by {self.order}"
        repeated = f" repeated {self.repeated}" if self.repeated else ""
        return f"{self.dtype}{list(self.shape)}{order}{repeated}"

    @property
    def elements(self) -> int:
        """How many elements lie in memory."""
        return math.prod(n for d, n in enumerate(self.shape) if d not in self.repeated)

    def make(self, device: torch.device) -> Tensor:
        """A tensor of halves (zeros where it holds whole numbers, which may be indices)."""
        natural = tuple(range(len(self.shape)))
        order = self.order or natural
        held = [1 if d in self.repeated else n for d, n in enumerate(self.shape)]
        dtype = getattr(torch, self.dtype)
        value = 0.5 if dtype.is_floating_point or dtype.is_complex else 0
        filled = torch.full([held[d] for d in order], value, dtype=dtype, device=device)
        if order == natural and not self.repeated:
            return filled  # no view of itself: some operators refuse those
        return filled.permute([order.index(d) for d in natural]).expand(self.shape)


@dataclass(frozen=True)
class Kernel:
    """An operator with its arguments, tensors as `Spec`.

    >>> str(Kernel("aten.mm.default", (Spec((16, 8)), Spec((8, 4)))))
    'aten.mm.default(float32[16, 8], float32[8, 4])'
    """

    operator: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        named = [f"{name}={_text(value)}" for name, value in self.kwargs]
        return f"{self.operator}({', '.join([*map(_text, self.args), *named])})"

    def specs(self) -> Iterator[Spec]:
        """Every tensor it takes."""
        yield from _specs([self.args, [value for _, value in self.kwargs]])

    def runner(self, device: torch.device) -> Runner:
        """The call on tensors of these sizes."""
        function: Any = torch.ops
        for part in self.operator.split("."):
            function = getattr(function, part)
        args = _made(self.args, device)
        kwargs = {name: _made(value, device) for name, value in self.kwargs}
        return lambda: function(*args, **kwargs)


def time_kernel(
    kernel: Kernel,
    device: torch.device,
    timer: Timer,
    *,
    at_least: float = 2e-3,
    samples: int = SAMPLES,
) -> float:
    """Seconds that one call takes: the fastest of some samples, each of `at_least` seconds or one call."""
    run = kernel.runner(device)
    with torch.no_grad():
        try:
            run()
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise PlanError(f"{kernel} cannot be timed on its own: {said}") from error
        once = timer(run)
        count = max(1, math.ceil(at_least / max(once, 1e-7)))
        if count == 1 and samples == 1:
            return once
        many = _often(run, count)
        return min(timer(many) for _ in range(samples)) / count


def _often(run: Runner, count: int) -> Runner:
    def runs() -> None:
        for _ in range(count):
            run()

    return runs


def _made(value: Any, device: torch.device) -> Any:
    if isinstance(value, Spec):
        return value.make(device)
    return [_made(v, device) for v in value] if isinstance(value, list | tuple) else value


def _specs(value: Any) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _specs(part)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
