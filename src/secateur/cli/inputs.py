"""Example inputs from words: `2x3x32x32`, `2x16:int64`, `pixel_values=2x3x224x224`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from ..core.errors import PlanError, unknown

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "bool")
_SHAPE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


def example_of(words: Sequence[str], device: str = "cpu") -> tuple[Any, ...] | dict[str, Any]:
    """Zeros of the named shapes: a tuple, or a dict where every input has a name.

    >>> example_of(["2x3:int64"])
    (tensor([[0, 0, 0],
            [0, 0, 0]]),)
    """
    made = [_input(word, device) for word in words]
    named = {name for name, _ in made if name}
    if named and len(named) < len(made):
        raise PlanError("either every --input has a name of its own, name=2x3, or none has")
    if named:
        return {str(name): tensor for name, tensor in made}
    return tuple(tensor for _, tensor in made)


def usual(config: Any, name: str, batch: int = 2) -> list[str]:
    """The shape of an input of a usual kind: tokens or pixels."""
    if name == "input_ids":
        return [f"{name}={batch}x16:int64"]
    if name == "pixel_values" and isinstance(getattr(config, "image_size", None), int):
        channels = getattr(config, "num_channels", 3)
        return [f"{name}={batch}x{channels}x{config.image_size}x{config.image_size}"]
    raise PlanError(f"the network takes '{name}'; say its shape, --input {name}={batch}x…")


def _input(word: str, device: str) -> tuple[str | None, torch.Tensor]:
    found = _SHAPE.fullmatch(word)
    if found is None:
        raise PlanError(
            f"'{word}' is no input; write sizes and perhaps a type and a name, e.g. 2x3x32x32, "
            "2x16:int64 or input_ids=2x16:int64"
        )
    dtype = found["dtype"] or "float32"
    if dtype not in DTYPES:
        raise unknown("type of input", dtype, DTYPES)
    shape = [int(n) for n in found["shape"].split("x")]
    return found["name"], torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
