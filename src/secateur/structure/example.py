"""An example input as plain data, shapes and dtypes without values, and another like it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..core.errors import PlanError, StorageError

_LARGEST = 1 << 28
"""Elements that a stored example may have: what it names is allocated."""


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as positional and keyword arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return tuple(example) if isinstance(example, tuple | list) else (example,), {}


def describe_example(example: Any) -> Any:
    """Tensors as `{"tensor": [shape, dtype]}`; tuples, lists, dicts and plain values as they are.

    >>> describe_example({"x": torch.zeros(2, 3), "n": 1})
    {'dict': {'x': {'tensor': [[2, 3], 'float32']}, 'n': {'value': 1}}}
    """
    if isinstance(example, Tensor):
        return {"tensor": [list(example.shape), str(example.dtype).removeprefix("torch.")]}
    if isinstance(example, Mapping):
        return {"dict": {str(key): describe_example(value) for key, value in example.items()}}
    if isinstance(example, tuple | list):
        return {type(example).__name__: [describe_example(value) for value in example]}
    if example is None or isinstance(example, bool | int | float | str):
        return {"value": example}
    raise PlanError(
        f"an example holds a {type(example).__name__}; only tensors and plain values can"
    )


def example_in_words(example: Any) -> Any:
    """`describe_example`, or None of what cannot be written down (a cache, an object)."""
    try:
        return describe_example(example) if example is not None else None
    except PlanError:
        return None


def example_like(described: Any) -> Any:
    """An input of the shapes that `describe_example` wrote: ones, noise where numbers are real.

    >>> example_like(describe_example((torch.zeros(2, dtype=torch.int64),)))
    (tensor([1, 1]),)
    """
    if not isinstance(described, dict) or len(described) != 1:
        raise StorageError("the example that it was traced on is not described")
    ((kind, content),) = described.items()
    if kind == "value" and not isinstance(content, list | dict):
        return content
    if kind == "tensor" and isinstance(content, list) and len(content) == 2:
        return _tensor(*content)
    if kind == "dict" and isinstance(content, dict):
        return {key: example_like(value) for key, value in content.items()}
    if kind in ("tuple", "list") and isinstance(content, list):
        return (tuple if kind == "tuple" else list)(map(example_like, content))
    raise StorageError(f"the example that it was traced on holds the unknown {kind!r}")


def _tensor(shape: Any, dtype: Any) -> Tensor:
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else None
    sizes = shape if isinstance(shape, list) and all(type(n) is int for n in shape) else [-1]
    if not isinstance(kind, torch.dtype) or min(sizes, default=0) < 0 or prod(sizes) > _LARGEST:
        raise StorageError(f"the example that it was traced on has a tensor {shape!r} of {dtype!r}")
    if kind.is_floating_point:
        return torch.randn(sizes, generator=torch.Generator().manual_seed(0)).to(kind)
    return torch.ones(sizes, dtype=kind)
