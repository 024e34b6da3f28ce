"""Odd widths, and which width near by is faster: single layers, timed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .forward import Call, evaluating
from .kernel import Kernel, Spec
from .table import LatencyTable

MULTIPLES = (8, 16)
FASTER = 0.97
"""A near width is named where it takes less than this share: of the time, or of the time per channel."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Near:
    """A layer's width beside a better one; times are milliseconds of the layer alone."""

    layer: str
    side: str
    width: int
    took: float
    better: int
    takes: float

    def __str__(self) -> str:
        return (
            f"{self.layer or 'the model'} takes {self.took:.3g} ms with {self.width} {self.side}, "
            f"{self.takes:.3g} ms with {self.better}"
        )


def near_widths(
    model: nn.Module, call: Call, layers: Sequence[str], table: LatencyTable
) -> list[Near]:
    """For inputs and outputs of layers, the nearest multiple of 8 or 16 that is faster, if one is.

    A larger width has to take less time, a smaller one less per channel.

    Args:
        model: it is run once.
        call: the example.
        layers: linear layers and convolutions without groups; others are passed over.
        table: times of operators.
    """
    return [near for layer, (module, shape) in _inputs(model, call, layers).items()
            for near in _of_layer(layer, module, shape, table)]  # fmt: skip


def _inputs(
    model: nn.Module, call: Call, layers: Sequence[str]
) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Layer -> it, and the shape of what it was first given."""
    seen: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}

    def note(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            seen.setdefault(name, (module, tuple(args[0].shape)))

    with ExitStack() as hooks, evaluating(model):
        for name in layers:
            module = model.get_submodule(name)
            hook = module.register_forward_pre_hook(
                lambda module, args, name=name: note(name, module, args)
            )
            hooks.callback(hook.remove)
        model(*call.args, **call.kwargs)
    return seen


def _of_layer(
    layer: str, module: nn.Module, shape: tuple[int, ...], table: LatencyTable
) -> Iterator[Near]:
    counts = _counts(module)
    for side, width in zip(("inputs", "outputs"), counts, strict=False):
        if width % MULTIPLES[0] == 0 or width < MULTIPLES[0]:
            continue
        took = table.milliseconds(_kernel(module, shape, *counts))
        times = {
            n: table.milliseconds(
                _kernel(module, shape, *((n, counts[1]) if side == "inputs" else (counts[0], n)))
            )
            for n in sorted({n for m in MULTIPLES for n in (width // m * m, -(-width // m) * m)})
            if n
        }
        good = [n for n, ms in times.items() if ms < FASTER * took * min(1, n / width)]
        if good:
            better = min(good, key=lambda n: abs(n - width))
            yield Near(layer, side, width, took, better, times[better])


def _counts(module: nn.Module) -> tuple[int, ...]:
    """(inputs, outputs); nothing for what is passed over."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, CONVOLUTIONS) and module.groups == 1:
        return module.in_channels, module.out_channels
    return ()


def _kernel(module: Any, shape: tuple[int, ...], inputs: int, outputs: int) -> Kernel:
    """The layer's operator with other widths."""
    dtype = str(module.weight.dtype).removeprefix("torch.")
    bias = None if module.bias is None else Spec((outputs,), dtype)
    if isinstance(module, nn.Linear):
        rows, weight = Spec((*shape[:-1], inputs), dtype), Spec((outputs, inputs), dtype)
        return Kernel("aten.linear.default", (rows, weight, bias))
    window = tuple(module.kernel_size)
    at = len(shape) - len(window) - 1  # of the channels; without a batch they come first
    image = Spec((*shape[:at], inputs, *shape[at + 1 :]), dtype)
    weight = Spec((outputs, inputs, *window), dtype)
    overload = "padding" if isinstance(module.padding, str) else "default"
    return Kernel(
        f"aten.conv{len(window)}d.{overload}",
        (image, weight, bias, module.stride, module.padding, module.dilation),
    )
